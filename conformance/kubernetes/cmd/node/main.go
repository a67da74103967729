// Command node is the agent of a testbed's node; started by it as "node run FILE"
// with a configuration in JSON, and by itself as "node container".
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"penstock.dev/penstock/conformance/kubernetes/node"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "node:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 1 && args[0] == "container":
		return node.Container()
	case len(args) == 2 && args[0] == "run":
	default:
		return fmt.Errorf("usage: node run FILE")
	}
	text, err := os.ReadFile(args[1])
	if err != nil {
		return err
	}
	var config node.Config
	if err := json.Unmarshal(text, &config); err != nil {
		return fmt.Errorf("%s: %w", args[1], err)
	}
	agent, err := node.New(config)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	return agent.Run(ctx)
}
