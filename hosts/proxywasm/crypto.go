package proxywasm

import (
	"encoding/binary"
	"errors"

	"penstock.dev/penstock/hosts/capability"
	"penstock.dev/penstock/hosts/capability/crypto"
)

const (
	// maxKeys bounds the keys of one filter on one instance.
	maxKeys = 512
	// stepsOfMicro is what a microsecond of the proxy's work costs a guest.
	stepsOfMicro = 1_000
	// stepsOfKey is what reading a key costs, and stepsOfPassword what asking for a
	// password does: the check itself is not on the guest's time, and bounded on its own.
	stepsOfKey      = 100_000
	stepsOfPassword = 20_000
	maxHash         = 256 // bytes, of a password's hash
)

// cryptoFunctions are foreign functions of capability crypto. Numbers in their arguments
// and results are little endian; a text has its length before it, in 16 bits.
func cryptoFunctions() map[string]foreignFunc {
	of := func(do foreignFunc) foreignFunc {
		return capable(capability.Crypto, func(*ABI) bool { return true }, do)
	}
	return map[string]foreignFunc{
		"penstock.crypto_key":        of(cryptoKey),
		"penstock.crypto_key_delete": of(cryptoKeyDelete),
		"penstock.crypto_verify":     of(cryptoVerify),
		"penstock.crypto_sign":       of(cryptoSign),
		"penstock.crypto_seal":       of(cryptoSeal),
		"penstock.crypto_open":       of(cryptoOpen),
		"penstock.crypto_hash":       of(cryptoHash),
		"penstock.crypto_password":   capable(capability.Crypto, func(a *ABI) bool { return a.o.Passwords != nil }, cryptoPassword),
	}
}

// keys are those that a root context has read.
type keys struct {
	all  map[uint32]*crypto.Key
	last uint32
}

// cryptoKey reads a key for one algorithm: a text with its name, the format (8 bits, as
// crypto.Format), the key. It returns the key's number (32 bits); 0: the key is refused, and
// why follows.
func cryptoKey(v *vm, args []byte) ([]byte, uint32) {
	v.i.Spend(stepsOfKey)
	r := reader{rest: args}
	name, format := r.text(0, 64), r.byte()
	if r.bad {
		return nil, statusBadArgument
	}
	own := &v.r.keys
	if len(own.all) >= maxKeys {
		v.r.f.log.once("keys", "the plugin holds too many keys at once")
		return nil, statusInternal
	}
	k, err := crypto.ParseKey(string(name), crypto.Format(format), r.rest)
	if err != nil {
		return append(make([]byte, 4), err.Error()...), statusOK
	}
	if own.all == nil {
		own.all = map[uint32]*crypto.Key{}
	}
	for own.last++; own.last == 0 || own.all[own.last] != nil; own.last++ {
	}
	own.all[own.last] = k
	return binary.LittleEndian.AppendUint32(nil, own.last), statusOK
}

// cryptoKeyDelete forgets a key by its number.
func cryptoKeyDelete(v *vm, args []byte) ([]byte, uint32) {
	if _, ok := v.keyOf(&reader{rest: args}); !ok || len(args) != 4 {
		return nil, statusBadArgument
	}
	delete(v.r.keys.all, binary.LittleEndian.Uint32(args))
	return nil, statusOK
}

// keyOf reads the number of a key.
func (v *vm) keyOf(r *reader) (*crypto.Key, bool) {
	k := v.r.keys.all[r.u32()]
	return k, k != nil && !r.bad
}

// cryptoVerify compares a signature in the form of JWS: the key's number, a text with the
// signature, the message. It returns whether it is right (8 bits).
func cryptoVerify(v *vm, args []byte) ([]byte, uint32) {
	r := reader{rest: args}
	k, ok := v.keyOf(&r)
	signature := r.text(0, maxForeign)
	if !ok || r.bad {
		return nil, statusBadArgument
	}
	v.i.Spend(k.VerifyMicros()*stepsOfMicro + int64(len(args)))
	right, err := k.Verify(signature, r.rest)
	return yes(right), badKey(err)
}

// cryptoSign returns a signature in the form of JWS: the key's number, the message.
func cryptoSign(v *vm, args []byte) ([]byte, uint32) {
	r := reader{rest: args}
	k, ok := v.keyOf(&r)
	if !ok {
		return nil, statusBadArgument
	}
	v.i.Spend(k.SignMicros()*stepsOfMicro + int64(len(args)))
	signature, err := k.Sign(r.rest)
	return signature, badKey(err)
}

// cryptoSeal encrypts: the key's number, a text that is authenticated with it, the text.
func cryptoSeal(v *vm, args []byte) ([]byte, uint32) {
	r := reader{rest: args}
	k, ok := v.keyOf(&r)
	with := r.text(0, maxForeign)
	if !ok || r.bad {
		return nil, statusBadArgument
	}
	v.i.Spend(stepsOfMicro + int64(len(args)))
	sealed, err := k.Seal(r.rest, with)
	return sealed, badKey(err)
}

// cryptoOpen decrypts what cryptoSeal made, with the same text beside it. It returns
// whether it is right (8 bits), and the text.
func cryptoOpen(v *vm, args []byte) ([]byte, uint32) {
	r := reader{rest: args}
	k, ok := v.keyOf(&r)
	with := r.text(0, maxForeign)
	if !ok || r.bad {
		return nil, statusBadArgument
	}
	v.i.Spend(stepsOfMicro + int64(len(args)))
	text, right, err := k.Open(r.rest, with)
	return append(yes(right), text...), badKey(err)
}

// cryptoHash returns a digest: a text with the name of the hash function, the data.
func cryptoHash(v *vm, args []byte) ([]byte, uint32) {
	v.i.Spend(stepsOfMicro + int64(len(args)))
	r := reader{rest: args}
	name := r.text(0, 64)
	sum, ok := crypto.Hash(string(name), r.rest)
	if r.bad || !ok {
		return nil, statusBadArgument
	}
	return sum, statusOK
}

// cryptoPassword compares a password with its hash: a text with the hash, the password.
// The answer, as later says, is whether it is right (8 bits). PARSE_FAILURE: the hash
// cannot be read; INTERNAL_FAILURE: too many wait.
func cryptoPassword(v *vm, args []byte) ([]byte, uint32) {
	v.i.Spend(stepsOfPassword)
	r := reader{rest: args}
	hash := r.text(0, maxHash)
	if r.bad {
		return nil, statusBadArgument
	}
	f := v.r.f
	return v.later(func(done func([]byte, error)) ([]byte, bool, func(), error) {
		right, now, cancel, err := f.abi.o.Passwords.Check(f.config.Namespace, hash, r.rest, func(right bool) { done(yes(right), nil) })
		return yes(right), now, cancel, err
	}, func(err error) uint32 {
		if errors.Is(err, capability.ErrBusy) {
			f.log.once("password", "the plugin's password was not checked: "+err.Error())
			return statusInternal
		}
		return statusParseFailure
	})
}

func yes(is bool) []byte {
	if is {
		return []byte{1}
	}
	return []byte{0}
}

// badKey is the status for a key that is not for what was asked of it.
func badKey(err error) uint32 {
	if err != nil {
		return statusBadArgument
	}
	return statusOK
}
