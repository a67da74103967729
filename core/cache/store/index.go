package store

import (
	"encoding/binary"
	"hash/crc32"
	"os"
)

// The files of a segment begin with a header of 16 bytes and the namespace:
//
//	0 magic, 4 version, 5 length of the namespace, 6 zero, 8 number, 12 CRC-32C of all
//	16 namespace, zeros up to a multiple of 8
const (
	segmentMagic = 0x53435350 // "PSCS"
	indexMagic   = 0x49435350 // "PSCI"
	fileHeader   = 16
)

func headerBytes(namespace string) int { return padded(fileHeader + len(namespace)) }

func appendHeader(dst []byte, magic, number uint32, namespace string) []byte {
	start := len(dst)
	dst = binary.LittleEndian.AppendUint32(dst, magic)
	dst = append(dst, formatVersion, byte(len(namespace)), 0, 0)
	dst = binary.LittleEndian.AppendUint32(dst, number)
	dst = binary.LittleEndian.AppendUint32(dst, 0)
	dst = append(dst, namespace...)
	for (len(dst)-start)%8 != 0 {
		dst = append(dst, 0)
	}
	binary.LittleEndian.PutUint32(dst[start+12:], crc32.Checksum(dst[start:], castagnoli))
	return dst
}

// parseHeader returns the namespace and the length of the header that p begins with.
func parseHeader(p []byte, magic, number uint32) (namespace string, n int, ok bool) {
	if len(p) < fileHeader || binary.LittleEndian.Uint32(p) != magic || binary.LittleEndian.Uint32(p[8:]) != number {
		return "", 0, false
	}
	if n = padded(fileHeader + int(p[5])); len(p) < n || p[5] == 0 {
		return "", 0, false
	}
	namespace = string(p[fileHeader : fileHeader+int(p[5])])
	return namespace, n, string(appendHeader(nil, magic, number, namespace)) == string(p[:n])
}

// indexed is what the index of a segment says of one record: all that the store needs
// to know of it before somebody asks for it.
//
//	 0 length of all, 4 CRC-32C of what follows, 8 kind, 9 flags, 10 number of tags, 11 zero
//	12 site, 16 hash, 24 stamp, 32 hash of the URL, 40 size of the body, 48 its file
//	56 hash of the variant, 60 offset, 64 length of the record, 68 hashes of tags
type indexed struct {
	site                    uint32 // which of the sites that this index has named
	hash, url, file         uint64
	stored, size            int64
	variant, offset, length uint32
	stale                   bool
	tags                    []byte // 8 bytes each
}

// Kinds of entries of an index.
const (
	indexSite   = 1 // service and hostname: lengths of 8 bits, then the names
	indexRecord = 2
)

const indexEntry = 68

// seal fills in length and sum of the entry that begins at start.
func sealEntry(dst []byte, start int) []byte {
	binary.LittleEndian.PutUint32(dst[start:], uint32(len(dst)-start))
	binary.LittleEndian.PutUint32(dst[start+4:], crc32.Checksum(dst[start+8:], castagnoli))
	return dst
}

func appendSite(dst []byte, service, hostname string) []byte {
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0, 0, 0, 0, 0, indexSite, byte(len(service)), byte(len(hostname)), 0)
	dst = append(append(dst, service...), hostname...)
	return sealEntry(dst, start)
}

func appendIndexed(dst []byte, x *indexed) []byte {
	start := len(dst)
	le := binary.LittleEndian
	flags := byte(0)
	if x.stale {
		flags = recordStale
	}
	dst = append(dst, 0, 0, 0, 0, 0, 0, 0, 0, indexRecord, flags, byte(len(x.tags)/8), 0)
	dst = le.AppendUint32(dst, x.site)
	for _, v := range []uint64{x.hash, uint64(x.stored), x.url, uint64(x.size), x.file} {
		dst = le.AppendUint64(dst, v)
	}
	for _, v := range []uint32{x.variant, x.offset, x.length} {
		dst = le.AppendUint32(dst, v)
	}
	dst = append(dst, x.tags...)
	return sealEntry(dst, start)
}

// siteName is a Service and a hostname, as an index names them.
type siteName struct{ service, hostname string }

// parseIndex calls take for every record of an index without its header, up to the
// first entry that is not what was written. It returns how many bytes were good.
func parseIndex(p []byte, sites *[]siteName, take func(*indexed)) (good int) {
	le := binary.LittleEndian
	for {
		if len(p) < 12 {
			return good
		}
		n := int(le.Uint32(p))
		if n < 12 || n > len(p) || n > indexEntry+8*MaxTags+2*256 || crc32.Checksum(p[8:n], castagnoli) != le.Uint32(p[4:]) {
			return good
		}
		switch {
		case p[8] == indexSite && n == 12+int(p[9])+int(p[10]):
			*sites = append(*sites, siteName{string(p[12 : 12+int(p[9])]), string(p[12+int(p[9]) : n])})
		case p[8] == indexRecord && n == indexEntry+8*int(p[10]) && int(p[10]) <= MaxTags:
			x := indexed{
				site: le.Uint32(p[12:]), hash: le.Uint64(p[16:]), stored: int64(le.Uint64(p[24:])), url: le.Uint64(p[32:]),
				size: int64(le.Uint64(p[40:])), file: le.Uint64(p[48:]), variant: le.Uint32(p[56:]),
				offset: le.Uint32(p[60:]), length: le.Uint32(p[64:]), stale: p[9]&recordStale != 0, tags: p[indexEntry:n],
			}
			if int(x.site) >= len(*sites) {
				return good
			}
			take(&x)
		default:
			return good
		}
		good += n
		p = p[n:]
	}
}

// segment is a file of records of one namespace, and its index: a file of what the
// store needs to know of each. Only the newest of a namespace is written to.
//
// sites, number of the index, is the writing goroutine's; the rest is Store.mu's, but
// for what never changes.
type segment struct {
	number    uint32
	namespace *namespace
	file      *os.File

	index     *os.File // nil: nothing is written any more
	size      int64    // of file
	indexSize int64
	attached  int64 // bytes of the files of its records' bodies
	records   []placed
	objects   int // of records, those that are not dead
	spared    bool
	torn      bool // a write failed, and what it left behind the end could not be cut off
	sites     map[siteName]uint32
}

// placed is a record of a segment, which is alive as long as its entry says the same.
type placed struct{ entry, offset uint32 }

func (g *segment) bytes() int64 { return g.size + g.indexSize }
