// The server of the matrix on the Go SDK: `server stdio|http [stateless]`.
package main

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/google/jsonschema-go/jsonschema"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

const note = "note://shared"

type numbers struct {
	A int `json:"a"`
	B int `json:"b"`
}

func text(value string) *mcp.CallToolResult {
	return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: value}}}
}

func add(_ context.Context, _ *mcp.CallToolRequest, in numbers) (*mcp.CallToolResult, any, error) {
	return text(fmt.Sprint(in.A + in.B)), nil, nil
}

func work(ctx context.Context, req *mcp.CallToolRequest, _ any) (*mcp.CallToolResult, any, error) {
	for step := 1; step <= 2; step++ {
		req.Session.NotifyProgress(ctx, &mcp.ProgressNotificationParams{
			ProgressToken: req.Params.GetProgressToken(), Progress: float64(step), Total: 2,
		})
	}
	req.Session.Log(ctx, &mcp.LoggingMessageParams{Level: "info", Data: "working"})
	// Clients of TypeScript drop what comes in one piece with the answer.
	time.Sleep(50 * time.Millisecond)
	return text("done"), nil, nil
}

func ask(_ context.Context, req *mcp.CallToolRequest, _ any) (*mcp.CallToolResult, any, error) {
	if answer, ok := req.Params.InputResponses["who"].(*mcp.ElicitResult); ok {
		return text(fmt.Sprintf("Hello %v", answer.Content["name"])), nil, nil
	}
	return &mcp.CallToolResult{InputRequests: mcp.InputRequestMap{"who": &mcp.ElicitParams{
		Message: "Who are you?",
		RequestedSchema: &jsonschema.Schema{
			Type:       "object",
			Properties: map[string]*jsonschema.Schema{"name": {Type: "string"}},
			Required:   []string{"name"},
		},
	}}}, nil, nil
}

func main() {
	server := mcp.NewServer(&mcp.Implementation{Name: "go", Version: "1"}, &mcp.ServerOptions{
		SubscribeHandler:   func(context.Context, *mcp.SubscribeRequest) error { return nil },
		UnsubscribeHandler: func(context.Context, *mcp.UnsubscribeRequest) error { return nil },
	})
	mcp.AddTool(server, &mcp.Tool{Name: "add"}, add)
	mcp.AddTool(server, &mcp.Tool{Name: "work"}, work)
	mcp.AddTool(server, &mcp.Tool{Name: "ask"}, ask)
	mcp.AddTool(server, &mcp.Tool{Name: "change"},
		func(ctx context.Context, _ *mcp.CallToolRequest, _ any) (*mcp.CallToolResult, any, error) {
			err := server.ResourceUpdated(ctx, &mcp.ResourceUpdatedNotificationParams{URI: note})
			return text("changed"), nil, err
		})
	server.AddResource(&mcp.Resource{Name: "note", URI: note},
		func(context.Context, *mcp.ReadResourceRequest) (*mcp.ReadResourceResult, error) {
			contents := []*mcp.ResourceContents{{URI: note, Text: "a note"}}
			return &mcp.ReadResourceResult{Contents: contents}, nil
		})
	server.AddPrompt(
		&mcp.Prompt{Name: "greet", Arguments: []*mcp.PromptArgument{{Name: "name", Required: true}}},
		func(_ context.Context, req *mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
			content := &mcp.TextContent{Text: "Greet " + req.Params.Arguments["name"]}
			messages := []*mcp.PromptMessage{{Role: "user", Content: content}}
			return &mcp.GetPromptResult{Messages: messages}, nil
		})

	if os.Args[1] == "stdio" {
		// The end of its input is an error to it.
		server.Run(context.Background(), &mcp.StdioTransport{})
		return
	}
	options := &mcp.StreamableHTTPOptions{Stateless: slices.Contains(os.Args, "stateless")}
	handler := mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, options)
	log.Fatal(http.ListenAndServe(os.Getenv("HOST")+":"+os.Getenv("PORT"), handler))
}
