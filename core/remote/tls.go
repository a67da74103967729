package remote

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Names of the files, and of the keys of a Secret, with which proxies and control
// know each other.
const (
	FileCA       = "ca.crt"  // who vouches for the other side, PEM
	FileCert     = "tls.crt" // this side's certificate, PEM
	FileKey      = "tls.key"
	FileStateKey = "state.key" // what the state on disk is encrypted with
)

// FromFolder returns a function that reads a side's certificate and authorities
// from a folder, as they are at each call.
func FromFolder(dir string) func() (*tls.Config, error) {
	return func() (*tls.Config, error) {
		cert, err := tls.LoadX509KeyPair(filepath.Join(dir, FileCert), filepath.Join(dir, FileKey))
		if err != nil {
			return nil, err
		}
		text, err := os.ReadFile(filepath.Join(dir, FileCA))
		if err != nil {
			return nil, err
		}
		return Mutual(cert, text)
	}
}

// Mutual returns what both sides use: their certificate, and the authorities (PEM)
// that must vouch for the other's.
func Mutual(cert tls.Certificate, authorities []byte) (*tls.Config, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(authorities) {
		return nil, fmt.Errorf("%s holds no certificate", FileCA)
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}, ServerName: ServerName,
		RootCAs: pool, ClientCAs: pool,
	}, nil
}

// StateKey returns a function that reads the key of the state on disk.
func StateKey(dir string) func() ([]byte, error) {
	return func() ([]byte, error) {
		key, err := os.ReadFile(filepath.Join(dir, FileStateKey))
		if err == nil && len(key) == 0 {
			err = errors.New(FileStateKey + " is empty")
		}
		return key, err
	}
}
