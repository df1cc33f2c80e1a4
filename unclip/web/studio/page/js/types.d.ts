// What the modules pass to each other. The contract's messages are as protobuf writes them in JSON: 64-bit integers are
// strings, bytes Base64, and what has its default value is left out.

export interface SamplingOptions {
  sampler?: string;
  steps?: number;
  guidanceScale?: number;
  eta?: number;
}

export interface ImageMessage {
  data: string;
  mediaType?: string;
  width?: number;
  height?: number;
}

export interface EmbeddingMessage {
  values: { dataType: string; shape: string[]; data: string };
  clipSpace: string;
}

/** Any request that makes pictures; which fields it has depends on its kind. */
export interface Asked {
  caption?: string;
  seed?: string;
  imageCount?: number;
  priorCandidates?: number;
  candidates?: number;
  prior?: SamplingOptions;
  decoder?: SamplingOptions;
  upsampler?: SamplingOptions;
  negativeCaption?: string;
  embedding?: EmbeddingMessage;
  size?: number;
  width?: number;
  height?: number;
  image?: ImageMessage;
  mask?: ImageMessage;
  eta?: number;
  start?: string;
  before?: string;
  after?: string;
  thetas?: number[];
  toImage?: ImageMessage;
  toCaption?: string;
  ts?: number[];
  resampling?: number;
  fit?: string;
  quality?: string;
}

export type Kind = "generate" | "vary" | "textDiff" | "interpolate" | "edit";

export type StreamRequest = { [kind in Kind]?: Asked } & { previewInterval?: number };

export interface Progress {
  stage: string;
  step?: number;
  of?: number;
  imageIndex?: number;
  queuePosition?: number;
}

export interface Notice {
  kind?: string;
  field?: string;
  parts?: string[];
  message: string;
}

export interface GeneratedImage {
  image: ImageMessage;
  imageIndex?: number;
  seed?: string;
  modelVersion: string;
  recipe: StreamRequest;
  sourceDigests?: string[];
  score?: number;
  inversionPsnr?: number;
  stageVersions?: { [stage: string]: string };
}

export interface StreamResponse {
  progress?: Progress;
  preview?: { image: ImageMessage; imageIndex?: number };
  image?: GeneratedImage;
  notice?: Notice;
  error?: ErrorBody;
}

export interface ErrorBody {
  code: string;
  reason: string;
  message: string;
  requestId?: string;
  retryAfter?: number;
  stage?: string;
  fields?: { field: string; description: string }[];
}

export interface StageInfo {
  stage: string;
  defaults?: SamplingOptions;
  fast?: SamplingOptions;
  imageSize?: number;
  version?: string;
  sizes?: Sizes;
}

/** Widths and heights that a stage can make; 64-bit integers are strings. */
export interface Sizes {
  multiple: number;
  smallest: number;
  largest: number;
  maxPixels: string;
}

export interface Vocabulary {
  concepts?: string[];
  styles?: string[];
}

export interface ModelInfo {
  name: string;
  version: string;
  license?: string;
  clipSpace: string;
  capabilities?: string[];
  stages?: StageInfo[];
  captions?: string[];
  vocabulary?: Vocabulary;
  quality?: string;
}

/** One term of a sum: a caption, or a picture by the sha256 of its file. */
export interface Term {
  sign: 1 | -1;
  caption?: string;
  picture?: string;
}

/** Which frame of a trajectory a picture is. */
export interface Film {
  id: string;
  index: number;
  count: number;
  value: number;
  symbol: string;
}

/** A picture that the browser keeps; its id is the sha256 of its file. */
export interface Picture {
  id: string;
  created: number;
  kind: Kind | "opened";
  title: string;
  type: string;
  width: number;
  height: number;
  recipe?: StreamRequest;
  seed?: string;
  sources: string[];
  modelVersion?: string;
  stageVersions?: { [stage: string]: string };
  score?: number;
  film?: Film;
  terms?: Term[];
  /** Pictures that the browser made its sources of, such as the one in the middle of a larger canvas. */
  parents?: string[];
}

/** A file that pictures began with, or are. from: the picture that it was made of, of a mask or a canvas. */
export interface StoredFile {
  digest: string;
  blob: Blob;
  role?: "mask" | "canvas";
  from?: string;
}

export interface View {
  element: HTMLElement;
  title: string;
  dispose?: () => void;
}
