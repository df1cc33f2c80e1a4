// Makes a picture of a caption, with progress, and writes it as robot.png: go run . 127.0.0.1:50050
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	gatewayv1 "unclip/api/gateway/v1"
)

func main() {
	connection, err := grpc.Dial(os.Args[1], grpc.WithInsecure(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(32<<20)))
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()
	gateway := gatewayv1.NewGatewayServiceClient(connection)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if key := os.Getenv("UNCLIP_API_KEY"); key != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+key)
	}

	seed := int64(1)
	request := &gatewayv1.GenerateRequest{Caption: "a 3d emoji of a robot", Seed: &seed}
	answer, err := gateway.Generate(ctx, request)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("Generate:", len(answer.Images), "picture, seed", answer.Images[0].Seed)

	events, err := gateway.Stream(ctx, &gatewayv1.StreamRequest{
		Request: &gatewayv1.StreamRequest_Generate{Generate: request},
	})
	if err != nil {
		log.Fatal(err)
	}
	steps := 0
	for {
		event, err := events.Recv()
		if err == io.EOF {
			break
		}
		if err != nil {
			log.Fatal(err)
		}
		if event.GetProgress() != nil {
			steps++
		}
		if image := event.GetImage(); image != nil {
			fmt.Println("Stream:", steps, "reports of progress,", image.Image.Width, "px")
			if err := os.WriteFile("robot.png", image.Image.Data, 0o644); err != nil {
				log.Fatal(err)
			}
		}
	}
}
