//go:build wasip1

package sdk

import (
	"encoding/binary"
	"encoding/json"
)

// Consumer is who sent a request, ready to be handed to the proxy.
type Consumer []byte

// NewConsumer prepares a consumer; make it once, in Configure.
func NewConsumer(name string, groups []string) (Consumer, error) {
	return json.Marshal(struct {
		Name   string   `json:"name"`
		Groups []string `json:"groups,omitempty"`
	}{name, groups})
}

// SetConsumer says who sent the request. It needs the capability consumer;
// elsewhere than in Penstock it fails, and the plugin may set a header.
func SetConsumer(c Consumer) error {
	_, err := CallForeign("penstock.set_consumer", c)
	return err
}

// Only says in Configure that just these callbacks of a Stream are of use with this
// configuration. The proxy then does not make the others, and holds no body up
// for them; those of a Plugin, of calls and of raw connections it makes all the same.
// Elsewhere than in Penstock all are made, as if nothing was said.
func Only(c Callbacks) {
	if _, err := CallForeign("penstock.set_callbacks", binary.LittleEndian.AppendUint32(nil, uint32(c))); err == nil {
		contexts.wanted[effective] = c
	}
}
