// What OpenAI's own SDK for Node makes of the API at argv[2]: one line of JSON for each call.
import { createReadStream } from "node:fs";
import OpenAI, { toFile } from "openai";

const [baseURL, image, mask] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: "sk-anything", maxRetries: 0 });
const tell = (call, result) => console.log(JSON.stringify({ call, ...result }));
const fetched = async (url) => {
  const answer = await fetch(url);
  return { status: answer.status, type: answer.headers.get("content-type"), url };
};

const made = await client.images.generate({ model: "dall-e-3", prompt: "a cat", n: 1, size: "1024x1024", style: "vivid" });
tell("generate url", { size: made.size, ...(await fetched(made.data[0].url)) });

const coded = await client.images.generate({ model: "gpt-image-1", prompt: "a cat", output_format: "jpeg", seed: 4 });
tell("generate b64_json", { b64: coded.data[0].b64_json.length, id: coded._request_id });

const edited = await client.images.edit({
  model: "dall-e-2",
  prompt: "a sunlit lounge",
  image: createReadStream(image), // no length is known: sent in chunks
  mask: createReadStream(mask),
  size: "256x256",
});
tell("edit", await fetched(edited.data[0].url));

const many = await client.images.edit({
  model: "gpt-image-1",
  prompt: "x",
  image: [await toFile(createReadStream(image), null, { type: "image/png" })], // sent as image[]
});
tell("edit image[]", { b64: many.data[0].b64_json.length });

const varied = await client.images.createVariation({ image: createReadStream(image), n: 2, response_format: "b64_json" });
tell("variation", { count: varied.data.length });

const stream = await client.images.generate({ prompt: "a cat", stream: true, partial_images: 2, steps: 9 });
const events = [];
for await (const event of stream) events.push(event.type);
tell("stream", { events });

const streamed = await client.images.edit({
  image: createReadStream(image), mask: createReadStream(mask), prompt: "x", stream: true, partial_images: 1, steps: 6,
});
const editEvents = [];
for await (const event of streamed) editEvents.push(event.type);
tell("edit stream", { events: editEvents });

try {
  await client.images.generate({ model: "dall-e-9", prompt: "x" });
} catch (error) {
  tell("unknown model", { status: error.status, code: error.code, kind: error.constructor.name });
}
try {
  await client.images.generate({ prompt: "x", size: "1024x1792" });
} catch (error) {
  tell("not square", { status: error.status, param: error.param, kind: error.constructor.name });
}
const models = [];
for await (const model of client.models.list()) models.push(model.id);
tell("models", { models });
