package rfc9111

// AppendPartHead appends what stands before the bytes of a part of multipart/byteranges
// (RFC 9110, 14.6): the boundary, Content-Type unless contentType is empty, and
// Content-Range. first is the first part. The caller chooses a boundary that the bytes
// do not hold, such as 16 random ones in hexadecimal.
func AppendPartHead(dst []byte, first bool, boundary string, contentType []byte, r ByteRange, size int64) []byte {
	if !first {
		dst = append(dst, "\r\n"...)
	}
	dst = append(append(dst, "--"...), boundary...)
	if len(contentType) > 0 {
		dst = append(append(dst, "\r\nContent-Type: "...), contentType...)
	}
	dst = AppendContentRange(append(dst, "\r\nContent-Range: "...), r, size)
	return append(dst, "\r\n\r\n"...)
}

// AppendPartsEnd appends what stands after the last part.
func AppendPartsEnd(dst []byte, boundary string) []byte {
	return append(append(append(dst, "\r\n--"...), boundary...), "--\r\n"...)
}

// PartsLength returns the Content-Length of the whole multipart/byteranges.
func PartsLength(boundary string, contentType []byte, ranges []ByteRange, size int64) int64 {
	var room [128]byte
	n := int64(len(AppendPartsEnd(room[:0], boundary)))
	for i, r := range ranges {
		n += int64(len(AppendPartHead(room[:0], i == 0, boundary, nil, r, size))) + r.Len()
		if len(contentType) > 0 {
			n += int64(len("\r\nContent-Type: ") + len(contentType))
		}
	}
	return n
}
