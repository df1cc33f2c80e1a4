import io.grpc.ManagedChannel;
import io.grpc.netty.NettyChannelBuilder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.TimeUnit;
import unclip.api.gateway.v1.GatewayServiceGrpc;
import unclip.api.gateway.v1.GatewayServiceGrpc.GatewayServiceBlockingStub;
import unclip.api.gateway.v1.GenerateRequest;
import unclip.api.gateway.v1.GenerateResponse;
import unclip.api.gateway.v1.StreamRequest;
import unclip.api.gateway.v1.StreamResponse;

/** Makes a picture of a caption, with progress, and writes it as robot.png: java Robot 127.0.0.1:50050. */
public class Robot {
  public static void main(String[] arguments) throws Exception {
    ManagedChannel channel =
        NettyChannelBuilder.forTarget(arguments[0]).usePlaintext().maxInboundMessageSize(32 << 20).build();
    try {
      GatewayServiceBlockingStub gateway =
          GatewayServiceGrpc.newBlockingStub(channel).withDeadlineAfter(60, TimeUnit.SECONDS);
      GenerateRequest request =
          GenerateRequest.newBuilder().setCaption("a 3d emoji of a robot").setSeed(1).build();
      GenerateResponse answer = gateway.generate(request);
      System.out.println("Generate: " + answer.getImagesCount() + " picture, seed " + answer.getImages(0).getSeed());

      int steps = 0;
      var events = gateway.stream(StreamRequest.newBuilder().setGenerate(request).build());
      while (events.hasNext()) {
        StreamResponse event = events.next();
        if (event.hasProgress()) {
          steps++;
        } else if (event.hasImage()) {
          var image = event.getImage().getImage();
          System.out.println("Stream: " + steps + " reports of progress, " + image.getWidth() + " px");
          Files.write(Path.of("robot.png"), image.getData().toByteArray());
        }
      }
    } finally {
      channel.shutdownNow().awaitTermination(5, TimeUnit.SECONDS);
    }
  }
}
