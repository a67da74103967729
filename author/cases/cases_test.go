package cases

import (
	"strings"
	"testing"
)

// TestParse: what cannot be meant is refused, with its place.
func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		"":                       "cases: want at least one",
		"cases: []":              "cases: want at least one",
		"case: []":               `line 1: unknown field "case" (one of config, capabilities, limits, consumers, cases)`,
		"cases: [{request: {}}]": `cases[0].name: ""`,
		"cases: [{name: a, request: {}}, {name: a, request: {}}]":                                                                              `cases[1].name: "a"`,
		"consumers: [{}]\ncases: [{name: a, request: {}}]":                                                                                     "consumers[0]: want a name",
		"cases: [{name: a, request: {}, consumers: [{name: a b}]}]":                                                                            "consumers[0]: want a name",
		"cases: [{name: a, request: {}, consumers: [{name: a, credentials: [{type: key-auth}]}]}]":                                             "consumers[0].credentials[0]: want a type and an id",
		"cases: [{name: a, request: {}, consumers: [{name: a, credentials: [{type: t, id: k}]}, {name: b, credentials: [{type: t, id: k}]}]}]": "consumers[1].credentials[0]: another one",
		"cases: [{name: a, request: {}, consumers: [{name: a, credentials: [{type: t, id: k, data: {a: b, c: d}}]}]}]":                         "data: want one",
		"cases: [{name: a, known: {name: \"\"}}]":                                                                                              "known: want a name",
		"cases: [{name: a}]":               "it says nothing",
		"cases: [{name: a, requests: {}}]": `line 1: case "a": unknown field "requests" (one of name, config, consumers, capabilities, schema, refused, advance, request, calls,`,
		"limits: {cpu: 1s}\ncases:\n- {name: a, request: {}}\n- name: b\n  request:\n    pth: /":          `line 1: unknown field "cpu" (one of cpuTime, cpuTimeExchange, cpuTimeStart, memory, body); line 6: case "b": unknown field "pth" (one of method, path, `,
		"cases: [{name: a, request: {status: 200}}]":                                                      "request.status: there is none",
		"cases: [{name: a, response: {path: /}}]":                                                         "response.path: there is none",
		"cases: [{name: a, request: {body: a, chunks: [a]}}]":                                             "want either body or chunks",
		"cases: [{name: a, request: {contains: [a]}}]":                                                    "request.contains: this is what is sent",
		"cases: [{name: a, request: {headers: {a: null}}}]":                                               "request: a has no value",
		"cases: [{name: a, request: {headers: {a: b, A: c}}}]":                                            "A stands there twice",
		"cases: [{name: a, request: {headers: [a]}}]":                                                     "want a map from names to values",
		"cases: [{name: a, response: {status: 99}}]":                                                      "response.status: 99: want 100 to 599",
		"cases: [{name: a, response: {from: client}}]":                                                    `response.from: "client"`,
		"cases: [{name: a, advance: 1, request: {}}]":                                                     `"1": want a duration`,
		"cases: [{name: a, advance: -1s, request: {}}]":                                                   `"-1s": want a duration`,
		"cases: [{name: a, calls: [{}]}]":                                                                 "calls[0]: want either response or fails",
		"cases: [{name: a, calls: [{fails: maybe}]}]":                                                     `calls[0].fails: "maybe"`,
		"cases: [{name: a, calls: [{grpc: {}}]}]":                                                         "calls[0].grpc: want either answer or fails",
		"cases: [{name: a, calls: [{grpc: {answer: {}}, response: {}}]}]":                                 "calls[0].grpc: request and response are those of an HTTP call",
		"cases: [{name: a, calls: [{grpc: {answer: {code: 17}}}]}]":                                       "calls[0].grpc.answer.code: 17",
		"cases: [{name: a, calls: [{grpc: {streams: 1}}]}]":                                               `case "a": unknown field "streams" (one of service, method, `,
		"cases: [{name: a, calls: [{redis: {}}]}]":                                                        "calls[0].redis: want either answer or fails",
		"cases: [{name: a, calls: [{redis: {answer: 1}, fails: reset}]}]":                                 "calls[0].redis: want either answer or fails",
		"cases: [{name: a, calls: [{redis: {answer: 1}, response: {}}]}]":                                 "calls[0].redis: request and response are those of an HTTP call",
		"cases: [{name: a, calls: [{redis: {answer: 1}, grpc: {}}]}]":                                     "calls[0]: want one of grpc and redis",
		"cases: [{name: a, calls: [{redis: {answer: 1}, to: a}]}]":                                        "calls[0].to: a plugin does not choose its Redis",
		"cases: [{name: a, calls: [{redis: {answer: 1.5}}]}]":                                             "calls[0].redis.answer: line 1: want a text",
		"cases: [{name: a, calls: [{redis: {answer: {OK: yes}}}]}]":                                       "calls[0].redis.answer: line 1: want a text",
		"cases: [{name: a, calls: [{redis: {answer: [{error: \"a\\nb\"}]}}]}]":                            "calls[0].redis.answer: line 1: want a text",
		"cases: [{name: a, calls: [{redis: {answer: [[[[[[[[[1]]]]]]]]]}}]}]":                             "calls[0].redis.answer: line 1: want a text",
		"cases: [{name: a, calls: [{redis: {command: [KEYS, a], answer: 1}}]}]":                           `calls[0].redis.command: `,
		"cases: [{name: a, calls: [{redis: {command: [], answer: 1}}]}]":                                  "calls[0].redis.command: malformed",
		"cases: [{name: a, calls: [{redis: {args: [], answer: 1}}]}]":                                     `case "a": unknown field "args" (one of `,
		"cases: [{name: a, calls: [{rate: {}}]}]":                                                         "calls[0].rate: want either answer or fails",
		"cases: [{name: a, calls: [{rate: {algorithm: gcra, answer: {}}}]}]":                              `calls[0].rate.algorithm: "gcra"`,
		"cases: [{name: a, calls: [{rate: {answer: {allowed: true, retry: 1s}}}]}]":                       "calls[0].rate.answer.retry",
		"cases: [{name: a, connections: [{}], request: {}}]":                                              "connections: there is an exchange beside them",
		"cases: [{name: a, connections: [{}], refused: a}]":                                               "has no exchange",
		"cases: [{name: a, connections: [{data: [{}]}]}]":                                                 "connections[0].data[0]: want client or upstream",
		"cases: [{name: a, connections: [{data: [{advance: 1s, end: true}]}]}]":                           "connections[0].data[0]: want client or upstream",
		"cases: [{name: a, connections: [{data: [{client: a, upstream: b}]}]}]":                           "connections[0].data[0]: want either client or upstream",
		"cases: [{name: a, connections: [{data: [{client: a, end: true}, {upstream: b}, {client: c}]}]}]": "connections[0].data[2]: its side has ended",
		"cases: [{name: a, connections: [{upstream: {reached: false, body: a}}]}]":                        "connections[0].upstream.reached: false, and yet",
		"cases: [{name: a, connections: [{client: {reached: true}}]}]":                                    "connections[0].client.reached: there is none",
		"cases: [{name: a, connections: [{calls: [{}]}]}]":                                                "connections[0].calls[0]: want either response or fails",
		"cases: [{name: a, connections: [{bytes: a}]}]":                                                   `case "a": unknown field "bytes" (one of `,
		"cases: [{name: a, refused: a, request: {}}]":                                                     "has no exchange",
		"cases: [{name: a, request: {}, exchanges: [{}]}]":                                                "there is another exchange",
		"cases: [{name: a, upstream: {reached: false, response: {}}}]":                                    "upstream.reached: false, and yet",
		"cases: [{name: a, upstream: {response: {from: plugin}}}]":                                        "upstream.response.from: this is what is sent",
		"cases: [{name: a, request: {}}]\n---\n{}":                                                        "more than one document",
		"limits: {memory: 1Ti}":                                                                           `"1Ti": want a number of bytes`,
		"limits: {memory: 2Gi}":                                                                           `"2Gi": want a number of bytes`,
		"limits: {body: 0}":                                                                               `"0": want a number of bytes`,
		strings.Repeat("#", MaxFileBytes+1):                                                               "larger than",
	} {
		if _, err := Parse("it.yaml", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80s: got %v; want %q", text, err, want)
		}
	}
}

// FuzzParse: what is taken has names, and each exchange can be made.
func FuzzParse(f *testing.F) {
	f.Add("cases: [{name: a, exchanges: [{advance: 1s, request: {chunks: [a, b], trailers: {t: a}}, consumer: {name: a, groups: [b]}}], metrics: {a: 1}, logs: [a]}, {name: b, refused: c}]")
	f.Add("cases: [{name: a, config: [1, {a: b}], request: {headers: {a: [b, c]}}, calls: [{fails: timeout, after: 1s}, {grpc: {service: s, message: !!binary AAE=, answer: {code: 7}}}]}]")
	f.Add("cases: [{name: a, calls: [{redis: {command: [GET, a], answer: [a, 1, null, {error: e}, !!binary AAE=]}}, {rate: {key: k, burst: 0, answer: {retry: 1s}}}]}, {name: b, connections: [{data: [{client: a, passes: b, end: true}, {advance: 1s}], client: {ended: true}}]}]")
	f.Fuzz(func(t *testing.T, text string) {
		file, err := Parse("it", []byte(text))
		if err != nil {
			return
		}
		for _, c := range file.Cases {
			if c.Name == "" || c.Refused != "" && c.Exchanges != nil {
				t.Fatalf("%+v", c)
			}
			for _, k := range c.calls() {
				answered := k.Response != nil || k.GRPC != nil && k.GRPC.Answer != nil || k.Redis != nil && len(k.Redis.reply) > 0 || k.Rate != nil && k.Rate.Answer != nil
				if !answered && callFailures[k.Fails] == nil {
					t.Fatalf("%+v", k)
				}
			}
			for i := range c.Exchanges {
				u := (&trial{Bed: &Bed{clock: newClock()}}).under(&c.Exchanges[i])
				u.make()
				if x := &u.x; len(x.Request.Method) == 0 || len(x.Request.Path) == 0 {
					t.Fatalf("%+v", x.Request)
				}
			}
		}
	})
}
