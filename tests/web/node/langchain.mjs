// What LangChain's DallEAPIWrapper for Node makes of the API at argv[2].
import { DallEAPIWrapper } from "@langchain/openai";

const [baseURL] = process.argv.slice(2);
const tool = new DallEAPIWrapper({ n: 1, model: "dall-e-3", apiKey: "sk-anything", baseUrl: baseURL, maxRetries: 0 });
const url = await tool.invoke("a painting of a cat");
const answer = await fetch(url);
console.log(JSON.stringify({ url, status: answer.status, type: answer.headers.get("content-type") }));

const coded = new DallEAPIWrapper({ n: 1, model: "dall-e-2", apiKey: "sk-anything", baseUrl: baseURL, dallEResponseFormat: "b64_json", maxRetries: 0 });
console.log(JSON.stringify({ b64: (await coded.invoke("a cat")).length }));
