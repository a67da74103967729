//go:build wasip1

// Command capabilities is a plugin that does what the field X-Do says, and answers with what
// came of it.
package main

import (
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	sdk "penstock.dev/penstock/wasm-sdk/go"
)

func main() {}

func init() { sdk.Register(func() sdk.Plugin { return plugin{} }) }

type plugin struct{}

// Configure implements sdk.Plugin.
func (plugin) Configure([]byte) error { return nil }

// NewStream implements sdk.Plugin.
func (plugin) NewStream() sdk.Stream { return stream{} }

type stream struct{ sdk.Base }

// passwordHash is of "open sesame".
const passwordHash = "$2a$04$FssefhEog8zzlV77fK6iD.fbSuvarTdzAUxZhIWrS2924pwmOidQS"

// RequestHeaders implements sdk.Stream.
func (stream) RequestHeaders(bool) sdk.Action {
	step, _ := sdk.RequestHeader.Get("x-do")
	with, _ := sdk.RequestHeader.Get("x-with")
	switch step {
	case "rate":
		answer(rate(sdk.TakeRate(&sdk.Rate{Limit: 2, Window: time.Minute, Burst: 2}, with, 1)))
	case "window":
		answer(rate(sdk.TakeRate(&sdk.Rate{Limit: 1, Window: time.Hour, Sliding: true}, with, 1)))
	case "shared":
		a, now, err := sdk.TakeSharedRate(&sdk.Rate{Limit: 2, Window: time.Minute}, with, 1, func(a sdk.RateAnswer, err error) { answer(rate(a, err)) })
		if now || err != nil {
			answer(rate(a, err))
		}
	case "kv":
		answer(kv(with))
	case "encode":
		answer(refused())
	case "crypto":
		answer(crypto(with))
	case "password":
		right, now, err := sdk.CheckPassword(passwordHash, with, func(right bool, err error) { answer(yes(right, err)) })
		if now || err != nil {
			answer(yes(right, err))
		}
	}
	return sdk.Pause
}

// ResponseHeaders implements sdk.Stream.
func (stream) ResponseHeaders(bool) sdk.Action {
	if step, _ := sdk.RequestHeader.Get("x-do"); step == "encode" {
		with, _ := sdk.RequestHeader.Get("x-with")
		if err := sdk.ResponseHeader.Set("x-said", told(sdk.EncodeBody(sdk.ResponseBody, with, 5))); err != nil {
			panic(err)
		}
	}
	return sdk.Continue
}

func refused() string {
	return strings.Join([]string{
		told(sdk.EncodeBody(sdk.RequestBody, "gzip", 0)), told(sdk.EncodeBody(sdk.RequestBody, "foo", 0)), told(sdk.EncodeBody(sdk.RequestBody, "gzip", 10)),
		told(sdk.DecodeBody(sdk.RequestBody, 100, "")), told(sdk.DecodeBody(sdk.RequestBody, 0, "")), told(sdk.EncodeBody(sdk.ResponseBody, "gzip", 0)),
	}, "; ")
}

func answer(text string) {
	if err := sdk.Respond(200, nil, text, ""); err != nil {
		panic(err)
	}
}

func told(err error) string {
	if err != nil {
		return err.Error()
	}
	return "ok"
}

func yes(is bool, err error) string {
	if err != nil {
		return err.Error()
	}
	return strconv.FormatBool(is)
}

func rate(a sdk.RateAnswer, err error) string {
	if err != nil {
		return err.Error()
	}
	return strconv.FormatBool(a.Allowed) + " " + strconv.Itoa(int(a.Remaining)) + " " + strconv.FormatBool(a.Reset > 0) + " " + strconv.FormatBool(a.Retry > 0)
}

func kv(key string) string {
	said := []string{told(sdk.KVPut(key, []byte("value"), time.Minute, true))}
	value, left, ok := sdk.KVGet(key)
	said = append(said, string(value), strconv.FormatBool(ok && left > 50*time.Second && left <= time.Minute))
	said = append(said, told(sdk.KVPut(key, []byte("other"), time.Minute, true)))
	_, err := sdk.KVAdd(key, 1, time.Minute)
	said = append(said, told(err), told(sdk.KVDelete(key)))
	_, _, ok = sdk.KVGet(key)
	said = append(said, strconv.FormatBool(ok))
	for _, delta := range []int64{5, -7} {
		sum, err := sdk.KVAdd(key, delta, time.Minute)
		said = append(said, strconv.FormatInt(sum, 10)+" "+told(err))
	}
	return strings.Join(append(said, told(sdk.KVDelete(key)), told(sdk.KVPut("", nil, time.Minute, false))), "; ")
}

func crypto(text string) string {
	message := []byte(text)
	key, err := sdk.NewKey("HS256", sdk.KeyRaw, []byte(strings.Repeat("s", 32)))
	if err != nil {
		return err.Error()
	}
	signature, err := key.Sign(message)
	signature = append([]byte(nil), signature...)
	said := []string{strconv.Itoa(len(signature)) + " " + told(err), yes(key.Verify(signature, message)), yes(key.Verify(signature, []byte("else")))}
	_, err = key.Seal(message, nil)
	said = append(said, told(err))
	key.Delete()
	_, err = key.Sign(message)
	said = append(said, told(err))
	_, err = sdk.NewKey("HS256", sdk.KeyRaw, []byte("short"))
	said = append(said, told(err))
	seal, err := sdk.NewKey("A256GCM", sdk.KeyRaw, []byte(strings.Repeat("k", 32)))
	if err != nil {
		return err.Error()
	}
	sealed, err := seal.Seal(message, []byte("with"))
	sealed = append([]byte(nil), sealed...)
	said = append(said, strconv.Itoa(len(sealed)-len(message))+" "+told(err))
	opened, ok, err := seal.Open(sealed, []byte("with"))
	said = append(said, string(opened)+" "+yes(ok, err))
	_, ok, err = seal.Open(sealed, []byte("else"))
	said = append(said, yes(ok, err))
	seal.Delete()
	sum, err := sdk.Hash("sha256", message)
	said = append(said, hex.EncodeToString(sum)+" "+told(err))
	_, err = sdk.Hash("md5", message)
	return strings.Join(append(said, told(err)), "; ")
}
