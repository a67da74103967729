//go:build wasip1

package sdk

//go:wasmimport env proxy_set_effective_context
func proxySetEffectiveContext(id uint32) uint32

//go:wasmimport env proxy_done
func proxyDone() uint32

// effective is the context that host functions are about.
var effective uint32

// EffectiveContext returns what host functions are about: in its own callbacks the stream,
// or the Plugin, in those of a call what made it.
func EffectiveContext() Context { return Context(effective) }

// SetEffectiveContext makes host functions be about another stream of the plugin, until
// the callback returns (proxy_set_effective_context): so that a Tick resumes a stream
// which paused, and kept its EffectiveContext. The error is ErrBadArgument: it has ended.
func SetEffectiveContext(c Context) error {
	if status := proxySetEffectiveContext(uint32(c)); status != 0 {
		return failure(status)
	}
	effective = uint32(c)
	return nil
}

// Done says that a Plugin whose Done was false may be ended now (proxy_done). The error
// is ErrNotFound before that.
func Done() error { return failure(proxyDone()) }

// enter makes the context of a call the effective one, for what came for it in a callback
// of root; false: it has ended.
func enter(context, root uint32) bool {
	effective = root
	if context == root {
		return true
	}
	return contexts.streams[context] != nil && SetEffectiveContext(Context(context)) == nil
}
