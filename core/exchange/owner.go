package exchange

// Owner is who looks after an upstream's connection, or stream, while a response's
// body waits for the upstream, so that one that is silent does not outlive its
// client. Its methods are called on the goroutine that reads the body.
type Owner interface {
	// Wait is called before a read that may wait. If it takes long the owner calls
	// Interrupt.
	Wait()
	// Proceed is called after it. No interruption of the owner's is under way from
	// then on; silent reports whether there was one.
	Proceed() (silent bool)
	// Upload reports whether the request's body is being sent, and why it could not
	// be sent whole.
	Upload() (running bool, err error)
	// Watch is Watch of x's client, which may be left to the upload while that runs.
	Watch(x *Exchange, gone func()) (stop func())
}
