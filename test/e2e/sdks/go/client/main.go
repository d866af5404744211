// The client of the matrix on the Go SDK, which speaks both eras.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"os/exec"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

const (
	note   = "note://shared"
	legacy = "2025-11-25"
	modern = "2026-07-28"
)

type job struct {
	Name    string   `json:"name"`
	Era     string   `json:"era"`
	URL     string   `json:"url"`
	Command []string `json:"command"`
	// Alias begins the names of the server's items at a virtual server.
	Alias string `json:"alias"`
}

func (j job) named(name string) string {
	if j.Alias == "" {
		return name
	}
	return j.Alias + "_" + name
}

func (j job) note() string {
	if j.Alias == "" {
		return note
	}
	return j.Alias + "+" + note
}

// heard is what a server says by itself.
type heard struct {
	mu                      sync.Mutex
	logs, progress, updates []string
}

func (h *heard) add(list *[]string, value string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	*list = append(*list, value)
}

func (h *heard) joined(list *[]string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Join(*list, ",")
}

func until(holds func() bool, longest time.Duration) {
	for end := time.Now().Add(longest); !holds() && time.Now().Before(end); {
		time.Sleep(20 * time.Millisecond)
	}
}

type work func(ctx context.Context) (string, error)

func step(j job, name string, longest time.Duration, do work) bool {
	ctx, cancel := context.WithTimeout(context.Background(), longest)
	defer cancel()
	type outcome struct {
		saw string
		err error
	}
	done := make(chan outcome, 1)
	go func() {
		saw, err := do(ctx)
		done <- outcome{saw, err}
	}()
	said := map[string]string{"job": j.Name, "step": name}
	var got outcome
	select {
	case got = <-done:
	case <-time.After(longest + time.Second):
		got.err = fmt.Errorf("no answer in %s", longest)
	}
	if got.err != nil {
		said["failed"] = got.err.Error()
	} else {
		said["saw"] = got.saw
	}
	line, _ := json.Marshal(said)
	fmt.Println(string(line))
	return got.err == nil
}

func textOf(content []mcp.Content) string {
	var all strings.Builder
	for _, each := range content {
		if text, ok := each.(*mcp.TextContent); ok {
			all.WriteString(text.Text)
		}
	}
	return all.String()
}

func run(j job) {
	h := &heard{}
	client := mcp.NewClient(&mcp.Implementation{Name: "go", Version: "1"}, &mcp.ClientOptions{
		Capabilities: &mcp.ClientCapabilities{},
		ElicitationHandler: func(context.Context, *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
			return &mcp.ElicitResult{Action: "accept", Content: map[string]any{"name": "Ada"}}, nil
		},
		LoggingMessageHandler: func(_ context.Context, req *mcp.LoggingMessageRequest) {
			h.add(&h.logs, fmt.Sprint(req.Params.Data))
		},
		ProgressNotificationHandler: func(_ context.Context, req *mcp.ProgressNotificationClientRequest) {
			h.add(&h.progress, fmt.Sprint(req.Params.Progress))
		},
		ResourceUpdatedHandler: func(_ context.Context, req *mcp.ResourceUpdatedNotificationRequest) {
			h.add(&h.updates, req.Params.URI)
		},
	})
	var transport mcp.Transport
	if j.URL != "" {
		transport = &mcp.StreamableClientTransport{Endpoint: j.URL}
	} else {
		transport = &mcp.CommandTransport{Command: exec.Command(j.Command[0], j.Command[1:]...)}
	}
	version := legacy
	if j.Era == "modern" {
		version = modern
	}
	// The client takes an older version than the one it asks for, which would hide what is tested.
	var session *mcp.ClientSession
	connect := func(ctx context.Context) (string, error) {
		var err error
		session, err = client.Connect(context.Background(), transport,
			&mcp.ClientSessionOptions{ProtocolVersion: version})
		if err != nil {
			return "", err
		}
		spoken := session.InitializeResult().ProtocolVersion
		if (spoken == modern) != (version == modern) {
			return "", fmt.Errorf("the client fell back to %s", spoken)
		}
		return spoken, nil
	}
	call := func(ctx context.Context, name string, arguments any, meta mcp.Meta) (string, error) {
		params := &mcp.CallToolParams{Name: j.named(name), Arguments: arguments, Meta: meta}
		result, err := session.CallTool(ctx, params)
		if err != nil {
			return "", err
		}
		return textOf(result.Content), nil
	}
	if step(j, "connect", 20*time.Second, connect) {
		step(j, "list", 5*time.Second, func(ctx context.Context) (string, error) {
			result, err := session.ListTools(ctx, nil)
			if err != nil {
				return "", err
			}
			names := []string{}
			for _, tool := range result.Tools {
				names = append(names, tool.Name)
			}
			sort.Strings(names)
			return strings.Join(names, ","), nil
		})
		step(j, "call", 5*time.Second, func(ctx context.Context) (string, error) {
			return call(ctx, "add", map[string]any{"a": 2, "b": 3}, nil)
		})
		step(j, "work", 8*time.Second, func(ctx context.Context) (string, error) {
			meta := mcp.Meta{"progressToken": "work"}
			if version == modern {
				meta[mcp.MetaKeyLogLevel] = "info"
			} else if session.InitializeResult().Capabilities.Logging != nil {
				params := &mcp.SetLoggingLevelParams{Level: "info"}
				if err := session.SetLoggingLevel(ctx, params); err != nil {
					return "", err
				}
			}
			said, err := call(ctx, "work", nil, meta)
			until(func() bool {
				return h.joined(&h.logs) != "" && strings.Contains(h.joined(&h.progress), ",")
			}, time.Second)
			return said, err
		})
		step(j, "progress", time.Second, func(context.Context) (string, error) {
			return h.joined(&h.progress), nil
		})
		step(j, "log", time.Second, func(context.Context) (string, error) {
			return h.joined(&h.logs), nil
		})
		step(j, "ask", 8*time.Second, func(ctx context.Context) (string, error) {
			return call(ctx, "ask", nil, nil)
		})
		step(j, "read", 5*time.Second, func(ctx context.Context) (string, error) {
			result, err := session.ReadResource(ctx, &mcp.ReadResourceParams{URI: j.note()})
			if err != nil {
				return "", err
			}
			return result.Contents[0].Text, nil
		})
		step(j, "subscribe", 8*time.Second, func(ctx context.Context) (string, error) {
			if version == modern {
				// It returns when the stream ends.
				go session.Subscribe(ctx, &mcp.SubscribeParams{URI: j.note()})
				time.Sleep(500 * time.Millisecond)
			} else if err := session.Subscribe(ctx, &mcp.SubscribeParams{URI: j.note()}); err != nil {
				return "", err
			}
			if _, err := call(ctx, "change", nil, nil); err != nil {
				return "", err
			}
			until(func() bool { return h.joined(&h.updates) != "" }, 2*time.Second)
			return h.joined(&h.updates), nil
		})
		step(j, "prompt", 5*time.Second, func(ctx context.Context) (string, error) {
			params := &mcp.GetPromptParams{Name: j.named("greet"), Arguments: map[string]string{"name": "Ada"}}
			result, err := session.GetPrompt(ctx, params)
			if err != nil {
				return "", err
			}
			return textOf([]mcp.Content{result.Messages[0].Content}), nil
		})
	}
	step(j, "close", 8*time.Second, func(context.Context) (string, error) {
		if session == nil {
			return "closed", nil
		}
		return "closed", session.Close()
	})
}

func main() {
	var jobs []job
	if err := json.NewDecoder(os.Stdin).Decode(&jobs); err != nil {
		log.Fatal(err)
	}
	for _, each := range jobs {
		run(each)
	}
}
