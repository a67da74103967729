package cases

import (
	"encoding/json"

	"penstock.dev/penstock/core/exchange"
)

// Certificate is a client's, as certs.Shown describes it to plugins.
type Certificate struct {
	Subject    string   `yaml:"subject" json:"subject"`
	Issuer     string   `yaml:"issuer" json:"issuer"`
	CommonName string   `yaml:"commonName" json:"commonName,omitempty"`
	URIs       []string `yaml:"uris" json:"uris,omitempty"`
	DNS        []string `yaml:"dns" json:"dns,omitempty"`
	Emails     []string `yaml:"emails" json:"emails,omitempty"`
	IPs        []string `yaml:"ips" json:"ips,omitempty"`
	Serial     string   `yaml:"serial" json:"serial"`
	SHA256     string   `yaml:"sha256" json:"sha256,omitempty"`
	NotBefore  string   `yaml:"notBefore" json:"notBefore"`
	NotAfter   string   `yaml:"notAfter" json:"notAfter"`
}

// conn is the connection of a client that has shown it, or none.
func (c *Certificate) conn() *exchange.Conn {
	if c == nil {
		return conn
	}
	text, err := json.Marshal(c)
	if err != nil { // texts alone
		panic("BUG: " + err.Error())
	}
	made := *conn
	made.Certificate, made.Verifier = text, "default/edge"
	return &made
}
