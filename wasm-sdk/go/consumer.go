//go:build wasip1

package sdk

import "encoding/json"

// SetConsumer says who sent the request. It needs the capability consumer;
// elsewhere than in Penstock it fails, and the plugin may set a header.
func SetConsumer(name string, groups []string) error {
	args, err := json.Marshal(struct {
		Name   string   `json:"name"`
		Groups []string `json:"groups,omitempty"`
	}{name, groups})
	if err != nil {
		return err
	}
	_, err = CallForeign("penstock.set_consumer", args)
	return err
}
