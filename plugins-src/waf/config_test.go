package main

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	tests := map[string]struct{ text, want string }{
		"nothing":                    {``, ""},
		"an empty mapping":           {`{}`, ""},
		"a whole configuration":      {`{"mode":"detect","paranoiaLevel":2,"inboundThreshold":10,"outboundThreshold":8,"allowedMethods":["GET"],"excludeRules":[942100],"rules":"","rulesAfter":"","inspectResponse":true,"bodyLimit":1024,"overLimit":"partial"}`, ""},
		"an unknown field":           {`{"paranoia":1}`, "config.paranoia: unknown field"},
		"an unknown mode":            {`{"mode":"off"}`, "config.mode"},
		"a paranoia level of 5":      {`{"paranoiaLevel":5}`, "config.paranoiaLevel"},
		"a threshold of 0":           {`{"inboundThreshold":0}`, "config.inboundThreshold"},
		"an outbound threshold of 0": {`{"outboundThreshold":0}`, "config.outboundThreshold"},
		"a tiny body limit":          {`{"bodyLimit":1}`, "config.bodyLimit"},
		"a huge body limit":          {`{"bodyLimit":131073}`, "config.bodyLimit"},
		"an unknown way":             {`{"overLimit":"pass"}`, "config.overLimit"},
		"a method that is text":      {`{"allowedMethods":["GET'\""]}`, "config.allowedMethods[0]"},
		"no method":                  {`{"allowedMethods":[]}`, "config.allowedMethods"},
		"the deciding rule excluded": {`{"excludeRules":[1,949110]}`, "config.excludeRules[1]"},
		"a negative rule":            {`{"excludeRules":[-1]}`, "config.excludeRules[0]"},
		"two mappings":               {`{}{}`, "config:"},
		"null":                       {`null`, "config: want one mapping"},
		"a level that is text":       {`{"paranoiaLevel":"1"}`, "config.paranoiaLevel: want a whole number"},
		"half a level":               {`{"paranoiaLevel":1.5}`, "config.paranoiaLevel: want a whole number"},
		"a method that is a number":  {`{"allowedMethods":["GET",1]}`, "config.allowedMethods[1]: want text"},
		"methods that are no list":   {`{"allowedMethods":"GET"}`, "config.allowedMethods: want a list"},
		"a list":                     {`[]`, "config:"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := parse([]byte(test.text))
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v; want %q", err, test.want)
			}
		})
	}
}

// TestSchema: the schema's defaults are the code's.
func TestSchema(t *testing.T) {
	text, err := os.ReadFile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var schema struct {
		Properties map[string]struct{ Default json.RawMessage }
	}
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	defaults := map[string]json.RawMessage{}
	for name, p := range schema.Properties {
		if p.Default != nil {
			defaults[name] = p.Default
		}
	}
	text, err = json.Marshal(defaults)
	if err != nil {
		t.Fatal(err)
	}
	got, err := parse(text)
	if err != nil {
		t.Fatal(err)
	}
	want, err := parse(nil)
	if err != nil {
		t.Fatal(err)
	}
	if g, w := got.directives(), want.directives(); g != w || got.OverLimit != want.OverLimit {
		t.Errorf("got %s; want %s", g, w)
	}
}
