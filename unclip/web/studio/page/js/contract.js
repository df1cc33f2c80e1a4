// Generated from protos/, unclip/options.py and unclip/wire/limits.py by `make protos`; never edited by hand.

export const SAMPLERS = [
  "SAMPLER_DDPM",
  "SAMPLER_DDIM",
  "SAMPLER_DPMPP_2M"
];

export const QUALITIES = [
  "QUALITY_STANDARD",
  "QUALITY_FAST"
];

export const RANGES = {
  "imageCount": {
    "min": 1,
    "max": 16
  },
  "priorCandidates": {
    "min": 1,
    "max": 16
  },
  "resampling": {
    "min": 1,
    "max": 10
  },
  "steps": {
    "min": 1,
    "max": 1000
  },
  "guidanceScale": {
    "min": 0,
    "max": 30
  },
  "eta": {
    "min": 0,
    "max": 1
  },
  "size": {
    "min": 16,
    "max": 2048
  },
  "width": {
    "min": 16,
    "max": 4096
  },
  "height": {
    "min": 16,
    "max": 4096
  }
};

export const FAST_GUIDANCE = {
  "min": 1.0,
  "max": 8.0
};

export const MAX_RANKED = 64;

export const MAX_CAPTION = 4096;
