package remote

import (
	"bufio"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

const (
	sealedMagic = "penstock state 2\n"
	saltSize    = 32
	// maxFrame bounds what is read at once, in bytes.
	maxFrame = 64 << 20
)

// A sealed file is a magic, a salt and frames: a length of 4 bytes, big-endian, and so
// many bytes of AES-256-GCM (NIST SP 800-38D). Its key is made of the secret and the salt
// (HKDF, RFC 5869), so that no two files have the same, and the nonce is the number of
// the frame: frames cannot be changed, moved or left out, but for the last ones.

func seal(secret, salt []byte) (cipher.AEAD, error) {
	if len(secret) < 32 {
		return nil, fmt.Errorf("the key has %d bytes: want 32 at least", len(secret))
	}
	key, err := hkdf.Key(sha256.New, secret, salt, sealedMagic, 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func frameNonce(number uint64) []byte {
	nonce := make([]byte, 12)
	binary.BigEndian.PutUint64(nonce[4:], number)
	return nonce
}

// sealedFile is one that is written. One goroutine at a time uses it.
type sealedFile struct {
	*os.File
	aead   cipher.AEAD
	number uint64 // of the next frame
	size   int64  // bytes written
}

// newSealed begins a sealed file in an empty one.
func newSealed(f *os.File, secret []byte) (*sealedFile, error) {
	head := append([]byte(sealedMagic), make([]byte, saltSize)...)
	salt := head[len(sealedMagic):]
	if _, err := rand.Read(salt); err != nil {
		return nil, err
	}
	aead, err := seal(secret, salt)
	if err != nil {
		return nil, err
	}
	if _, err := f.Write(head); err != nil {
		return nil, err
	}
	return &sealedFile{File: f, aead: aead, size: int64(len(head))}, nil
}

// append writes one frame. After an error nothing more may be written.
func (s *sealedFile) append(text []byte) error {
	n := len(text) + s.aead.Overhead()
	if n > maxFrame {
		return fmt.Errorf("a resource has %d bytes: at most %d", n, maxFrame)
	}
	out := make([]byte, 4, 4+n)
	binary.BigEndian.PutUint32(out, uint32(n))
	out = s.aead.Seal(out, frameNonce(s.number), text, nil)
	s.number++
	s.size += int64(len(out))
	_, err := s.Write(out)
	return err
}

// sealedReader reads one from its beginning.
type sealedReader struct {
	r      *bufio.Reader
	aead   cipher.AEAD
	number uint64
}

var errUnsealed = errors.New("another key wrote it, or it was changed")

func openSealed(r io.Reader, secret []byte) (*sealedReader, error) {
	b := bufio.NewReader(r)
	head := make([]byte, len(sealedMagic)+saltSize)
	if _, err := io.ReadFull(b, head); err != nil || string(head[:len(sealedMagic)]) != sealedMagic {
		return nil, errors.New("it is cut short, or another version wrote it")
	}
	aead, err := seal(secret, head[len(sealedMagic):])
	if err != nil {
		return nil, err
	}
	return &sealedReader{r: b, aead: aead}, nil
}

// next returns the next frame; io.EOF: there is none.
func (s *sealedReader) next() ([]byte, error) {
	var length [4]byte
	if _, err := io.ReadFull(s.r, length[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(length[:])
	if n > maxFrame {
		return nil, errUnsealed
	}
	text, err := io.ReadAll(io.LimitReader(s.r, int64(n))) // no more than there is
	if err != nil {
		return nil, err
	}
	if len(text) < int(n) {
		return nil, io.ErrUnexpectedEOF
	}
	if text, err = s.aead.Open(text[:0], frameNonce(s.number), text, nil); err != nil {
		return nil, errUnsealed
	}
	s.number++
	return text, nil
}
