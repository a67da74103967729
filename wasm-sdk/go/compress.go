//go:build wasip1

package sdk

import "encoding/binary"

// EncodeBody has RequestBody or ResponseBody encoded by the proxy, in its header callback or
// while that pauses: with "gzip", "br" or "zstd", at a level from 1, which is fast, to 9, or
// 0 for the coding's default. The proxy changes the fields that speak of the content once the
// headers go on, and makes no callbacks of the stream for that body and its trailers. It
// fails with ErrNotFound for another coding, with ErrEmpty where there is no body, with
// ErrInternal when encoders take as much memory as they may, and without the capability
// compress; with ErrBadArgument at another time, for a part (206) and for what was encoded or
// decoded by this plugin before.
func EncodeBody(b Buffer, coding string, level int) error {
	if b.kind > ResponseBody.kind || level < 0 || level > 9 {
		return ErrBadArgument
	}
	arguments = append(append(arguments[:0], byte(b.kind), byte(level)), coding...)
	_, err := CallForeign("penstock.encode_body", arguments)
	return err
}

// DecodeBody has a body decoded, as EncodeBody: by what Content-Encoding says, or by codings,
// the outermost first and with commas between them, of "gzip", "deflate", "br" and "zstd". A
// request whose body becomes longer than limit bytes is answered with 413, and with 400 if it
// is not what its coding makes; a response with 502, or cut short. ErrEmpty also says that
// nothing is encoded.
func DecodeBody(b Buffer, limit int64, codings string) error {
	if b.kind > ResponseBody.kind || limit <= 0 {
		return ErrBadArgument
	}
	arguments = binary.LittleEndian.AppendUint64(append(arguments[:0], byte(b.kind)), uint64(limit))
	_, err := CallForeign("penstock.decode_body", append(arguments, codings...))
	return err
}
