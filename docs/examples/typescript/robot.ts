// Makes a picture of a caption, with progress, and writes it as robot.png: node built/robot.js 127.0.0.1:50050
import { writeFile } from "node:fs/promises";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { GatewayService } from "./gen/unclip/api/gateway/v1/gateway_pb.js";

const transport = createGrpcTransport({ baseUrl: `http://${process.argv[2]}`, readMaxBytes: 32 << 20 });
const gateway = createClient(GatewayService, transport);
const options = { timeoutMs: 60_000 };
const request = { caption: "a 3d emoji of a robot", seed: 1n };

const answer = await gateway.generate(request, options);
console.log(`Generate: ${answer.images.length} picture, seed ${answer.images[0].seed}`);

let steps = 0;
for await (const { event } of gateway.stream({ request: { case: "generate", value: request } }, options)) {
  if (event.case === "progress") {
    steps++;
  } else if (event.case === "image" && event.value.image) {
    console.log(`Stream: ${steps} reports of progress, ${event.value.image.width} px`);
    await writeFile("robot.png", event.value.image.data);
  }
}
