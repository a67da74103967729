//go:build wasip1

package sdk

// FindConsumer returns the consumer that has a credential: one of a kind, as "key-auth",
// that is looked up by a text, as the key itself. It is looked for in the plugin's own
// namespace, then in namespaces, whose ReferenceGrants have to permit it. ErrNotFound: there
// is none. It needs the capability consumer: ErrInternal without it; elsewhere than in
// Penstock ErrUnimplemented, and the plugin has to know who there is by itself.
func FindConsumer(kind, lookup string, namespaces ...string) (Identity, error) {
	b, err := findConsumer(0, kind, lookup, namespaces)
	if err != nil {
		return Identity{}, err
	}
	return readIdentity(b)
}

// UseConsumer makes the consumer that FindConsumer returned last in this exchange the one
// who sent the request: for the filters that come later, the log and the headers that the
// Service gets. To be called once the request has shown what it has to, before its headers
// go on: later it is ErrBadArgument. It fails as FindConsumer does.
func UseConsumer() error {
	_, err := penstock(CallForeign("penstock.consumer_use", nil))
	return err
}

// IdentifyConsumer is FindConsumer and UseConsumer at once, for a credential that nothing is
// left to be checked of. If it fails nobody is known to have sent the request.
func IdentifyConsumer(kind, lookup string, namespaces ...string) error {
	_, err := findConsumer(findUses|findQuiet, kind, lookup, namespaces)
	return err
}

// CurrentConsumer returns who sent the request, as plugins before this one have found out.
// ErrNotFound: nobody has; ErrUnimplemented elsewhere than in Penstock. It needs no
// capability.
func CurrentConsumer() (Identity, error) {
	b, err := penstock(CallForeign("penstock.consumer_get", nil))
	if err != nil {
		return Identity{}, err
	}
	return readIdentity(b)
}

// SetClaims says what a token holds of who sent the request, a JSON object of at most 16 KiB,
// once it has been checked: later plugins read it as Property("penstock", "claims"), and
// expressions as claims. Otherwise it is as UseConsumer; a request of which there are claims
// counts as one of somebody for the cache too.
func SetClaims(json []byte) error {
	_, err := penstock(CallForeign("penstock.set_claims", json))
	return err
}

func findConsumer(flags byte, kind, lookup string, namespaces []string) ([]byte, error) {
	var err error
	if arguments, err = appendFind(arguments[:0], flags, kind, lookup, namespaces); err != nil {
		return nil, err
	}
	return penstock(CallForeign("penstock.consumer_find", arguments))
}

// inPenstock: the proxy is Penstock; it has these functions.
var inPenstock bool

// penstock tells what was not found from a function that is not there: what a proxy that
// does not have it says too.
func penstock(b []byte, err error) ([]byte, error) {
	if err != ErrNotFound || inPenstock {
		return b, err
	}
	if _, probe := CallForeign("penstock.consumer_get", []byte{0}); probe != ErrBadArgument { // no argument of it
		return nil, ErrUnimplemented
	}
	inPenstock = true
	return nil, ErrNotFound
}
