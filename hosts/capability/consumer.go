package capability

import (
	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
)

// Bounds on what a plugin looks a Consumer up by, in bytes but for the namespaces.
const (
	MaxCredentialType     = 64
	MaxCredentialLookup   = 4 << 10
	MaxConsumerNamespaces = 16
	MaxNamespace          = 63
)

// Consumers finds Consumer objects by their credentials. Any goroutine may call it.
type Consumers interface {
	// FindConsumer returns who has the credential of a type that is looked up by a text: of
	// the filter's own namespace, else of the first of the others that has it and whose
	// ReferenceGrants permit it to the filter. data is what the request is to be checked
	// by (config.Credential.Data); it and who's groups are not to be changed. How long it
	// takes says nothing of how much of the text was right. ok is false if there is none.
	FindConsumer(f *config.Filter, kind, lookup []byte, others [][]byte) (who exchange.Consumer, data []byte, ok bool)
}
