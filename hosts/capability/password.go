package capability

// PasswordChecker checks passwords against their hashes. Any goroutine may call it.
type PasswordChecker interface {
	// Check compares a password with a hash (bcrypt, or argon2id in the PHC string format).
	// It may answer at once; else done is called exactly once, on another goroutine, but
	// not after cancel if the check has not begun. An error wraps ErrBusy, or says why the
	// hash cannot be read.
	Check(namespace string, hash, password []byte, done func(right bool)) (right, now bool, cancel func(), err error)
}
