package sdk

import "encoding/binary"

// Bounds of what a consumer is looked up by, in bytes; each text has one at least.
const (
	MaxCredentialType     = 64
	MaxCredentialLookup   = 4 << 10
	MaxConsumerNamespaces = 16 // beside the plugin's own

	maxNamespace = 63
	// Flags of consumer_find.
	findUses  = 1
	findQuiet = 2 // nothing is returned
)

// Identity is who sent a request.
type Identity struct {
	Username string // unique in its namespace
	Groups   []string
	// Data is what the request is to be checked by, if it was found: what that is, a NUL,
	// and the bytes; nothing for key-auth. It is secret.
	Data []byte
}

// appendFind appends the argument of consumer_find: flags, the kind and the lookup with
// their lengths before them in 16 bits, a list of namespaces. The error is ErrBadArgument.
func appendFind(dst []byte, flags byte, kind, lookup string, namespaces []string) ([]byte, error) {
	fits := func(s string, most int) bool { return s != "" && len(s) <= most }
	if !fits(kind, MaxCredentialType) || !fits(lookup, MaxCredentialLookup) {
		return dst, ErrBadArgument
	}
	out := appendText(appendText(append(dst, flags), kind), lookup)
	out, ok := appendList(out, namespaces, MaxConsumerNamespaces, 1, maxNamespace)
	if !ok {
		return dst, ErrBadArgument
	}
	return out, nil
}

// readIdentity reads what the proxy returns: the username and a list of groups, each text
// with its length before it in 16 bits and the list's in 8; then the data. The error is
// ErrResultMismatch.
func readIdentity(b []byte) (who Identity, err error) {
	ok := true
	text := func() string {
		if len(b) < 2 || len(b)-2 < int(binary.LittleEndian.Uint16(b)) {
			ok = false
			return ""
		}
		n := int(binary.LittleEndian.Uint16(b))
		s := string(b[2 : 2+n])
		b = b[2+n:]
		return s
	}
	who.Username = text()
	if !ok || len(b) == 0 {
		return Identity{}, ErrResultMismatch
	}
	n := int(b[0])
	b = b[1:]
	for i := 0; i < n && ok; i++ {
		who.Groups = append(who.Groups, text())
	}
	if !ok {
		return Identity{}, ErrResultMismatch
	}
	who.Data = append([]byte(nil), b...)
	return who, nil
}
