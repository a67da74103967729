package remote

import (
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"penstock.dev/penstock/core/oci"
)

// The protocol is delta discovery (the xDS transport, AggregatedDiscoveryService's
// DeltaAggregatedResources) with resource types of our own; plugin bytes come by
// google.bytestream.ByteStream, named by digest; and a proxy tells what it runs
// with the service of this file.
//
// A change of the config may take several responses: those before the last have
// an empty system_version_info, and the proxy answers the last one alone, by ACK
// once it serves it, or by NACK. Endpoints come one response at a time, and before
// the config that needs them.
const (
	TypeConfig    = "type.penstock.dev/config"
	TypeEndpoints = "type.penstock.dev/endpoints"
	// TypeImage is what became of a filter's image, by the filter's hash.
	TypeImage = "type.penstock.dev/image"
)

// ServerName is the name in control's certificate, whatever its address.
const ServerName = "control.penstock.dev"

// MaxMessage bounds a message, in bytes; MaxResponse what a response is filled up to.
const (
	MaxMessage  = 16 << 20
	MaxResponse = 1 << 20
)

// Image is what a filter's image is, as control found it.
type Image struct {
	// Reference is that of the filter; Digest "sha256:..." of the image manifest.
	Reference, Digest string
	// Module is the digest of the module's bytes, "sha256:...", and Size their number.
	Module string
	Size   int64
	// What the image's manifest says (oci.Manifest), its schema and its cases.
	ABI                             string
	Capabilities                    []string
	Guard, MultiConfig, Connections bool
	Schema                          []byte
	Cases                           []oci.CasesFile
	// Reason is set if the filter may not run, or not yet: of ImageReasons; Message
	// says why. Message alone is what is to be told of a filter that runs: that its tag has
	// moved to what cannot be had.
	Reason, Message string
}

// Report is what a proxy tells of itself.
type Report struct {
	Ready bool // it takes traffic
	Parts []PartReport
	// Purges are those of the config that it has carried out.
	Purges []PurgeReport
}

// PurgeReport is what became of a purge on one proxy.
type PurgeReport struct {
	ID      string // config.Purge.ID
	Removed int64  // stored responses that it removed, or made stale
	Error   string // why it could not be carried out, for operators; empty: it was
}

// PartReport is a part of chains as one proxy runs it.
type PartReport struct {
	Hash    string // config.Part.Hash
	State   string // "Running", "LastGood", "Pending", "Broken"
	Filters []FilterReport
}

// FilterReport is a filter as one proxy runs it.
type FilterReport struct {
	Name   string // part/name
	Digest string
	State  string // of annotations.md, section 3
	Reason string
	// Message is for operators.
	Message string
	Since   int64 // Unix time, seconds
	// Declaration is config.Filter.Declaration; Entry is set if the filter runs in the
	// place of one that was rolled back, and is of the same name.
	Declaration string
	Entry       []byte
}

// Marshal returns a Report or an Image as CBOR.
func Marshal(v any) ([]byte, error) { return encMode.Marshal(v) }

// Unmarshal reads what Marshal wrote.
func Unmarshal(b []byte, v any) error { return decMode.Unmarshal(b, v) }

// Reports takes the reports of proxies.
type Reports interface {
	// Report is called for each report of one proxy, in order; done when it is gone.
	Report(ctx context.Context, next func() (*Report, error)) error
}

const (
	reportService = "penstock.remote.v1.Reports"
	reportMethod  = "Report"
)

// RegisterReports serves the service that proxies report to.
func RegisterReports(s *grpc.Server, r Reports) {
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: reportService, HandlerType: (*Reports)(nil),
		Streams: []grpc.StreamDesc{{StreamName: reportMethod, ClientStreams: true, Handler: func(srv any, stream grpc.ServerStream) error {
			err := srv.(Reports).Report(stream.Context(), func() (*Report, error) {
				var m wrapperspb.BytesValue
				if err := stream.RecvMsg(&m); err != nil {
					return nil, err
				}
				var report Report
				if err := Unmarshal(m.Value, &report); err != nil {
					return nil, fmt.Errorf("report: %w", err)
				}
				return &report, nil
			})
			if err != nil && !errors.Is(err, io.EOF) {
				return err
			}
			return stream.SendMsg(&emptypb.Empty{})
		}}},
	}, r)
}

// reporting opens the stream of a proxy's reports.
func reporting(ctx context.Context, c *grpc.ClientConn) (send func(*Report) error, err error) {
	stream, err := c.NewStream(ctx, &grpc.StreamDesc{StreamName: reportMethod, ClientStreams: true}, "/"+reportService+"/"+reportMethod)
	if err != nil {
		return nil, err
	}
	return func(r *Report) error {
		b, err := Marshal(r)
		if err != nil {
			return err
		}
		return stream.SendMsg(wrapperspb.Bytes(b))
	}, nil
}
