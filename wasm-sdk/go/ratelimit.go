//go:build wasip1

package sdk

// TakeRate counts cost events of a key if they are within a rate, on this proxy alone.
// Filters of a namespace with the same vmId share keys. With cost 0 it only asks. It needs
// the capability ratelimit: without it, and elsewhere than in Penstock, it fails with
// ErrHost.
func TakeRate(r *Rate, key string, cost uint32) (a RateAnswer, err error) {
	if arguments, err = appendRate(arguments[:0], r, false, key, cost); err != nil {
		return a, err
	}
	b, err := CallForeign("penstock.rate_limit", arguments)
	if err != nil {
		return a, err
	}
	a, ok := readRate(b)
	if !ok {
		return a, ErrResultMismatch
	}
	return a, nil
}

// TakeSharedRate is TakeRate by what all proxies count together, in the Redis of the
// Gateway's parameters. now: the answer is there. Else answered is called once, as that
// of HTTPCall is, with an error if Redis did not answer. Without a Redis it fails with
// ErrUnimplemented.
func TakeSharedRate(r *Rate, key string, cost uint32, answered func(RateAnswer, error)) (a RateAnswer, now bool, err error) {
	if arguments, err = appendRate(arguments[:0], r, true, key, cost); err != nil {
		return a, false, err
	}
	b, now, err := callLater("penstock.rate_limit", arguments, func(b []byte, err error) {
		a, ok := readRate(b)
		if err == nil && !ok {
			err = ErrResultMismatch
		}
		answered(a, err)
	})
	if err != nil || !now {
		return a, false, err
	}
	a, ok := readRate(b)
	if !ok {
		return a, false, ErrResultMismatch
	}
	return a, true, nil
}
