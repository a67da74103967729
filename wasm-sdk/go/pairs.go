package sdk

import "encoding/binary"

// appendPairs appends a list as Proxy-Wasm has it: count, sizes, then each name and
// value followed by a NUL; of an empty one nothing.
func appendPairs(dst []byte, pairs [][2]string) []byte {
	if len(pairs) == 0 {
		return dst
	}
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(pairs)))
	for _, p := range pairs {
		dst = binary.LittleEndian.AppendUint32(dst, uint32(len(p[0])))
		dst = binary.LittleEndian.AppendUint32(dst, uint32(len(p[1])))
	}
	for _, p := range pairs {
		dst = append(append(dst, p[0]...), 0)
		dst = append(append(dst, p[1]...), 0)
	}
	return dst
}

// decodePairs is the inverse; the host's bytes are trusted to be well formed,
// anything else gives nil.
func decodePairs(b []byte) [][2]string {
	if len(b) < 4 {
		return nil
	}
	n := int(binary.LittleEndian.Uint32(b))
	at := 4 + 8*n
	if n < 0 || at > len(b) {
		return nil
	}
	take := func(size int) (string, bool) {
		if size < 0 || at+size+1 > len(b) {
			return "", false
		}
		s := string(b[at : at+size])
		at += size + 1
		return s, true
	}
	pairs := make([][2]string, 0, n)
	for i := range n {
		key, ok := take(int(binary.LittleEndian.Uint32(b[4+8*i:])))
		value, ok2 := take(int(binary.LittleEndian.Uint32(b[8+8*i:])))
		if !ok || !ok2 {
			return nil
		}
		pairs = append(pairs, [2]string{key, value})
	}
	return pairs
}
