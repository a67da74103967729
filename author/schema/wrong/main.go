// Command wrong writes configurations that a JSON Schema does not allow, as JSON, for
// tests.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"penstock.dev/penstock/author/schema"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) != 2 {
		return fmt.Errorf("usage: wrong SCHEMA")
	}
	text, err := os.ReadFile(os.Args[1])
	if err != nil {
		return err
	}
	all, err := schema.WrongConfigs(text)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(all)
}
