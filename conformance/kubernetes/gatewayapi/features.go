package gatewayapi

import (
	"slices"

	"sigs.k8s.io/gateway-api/conformance/utils/suite"
	"sigs.k8s.io/gateway-api/pkg/features"
)

// profiles are those that Penstock claims: all but those of meshes.
var profiles = []suite.ConformanceProfile{
	suite.GatewayHTTPConformanceProfile,
	suite.GatewayGRPCConformanceProfile,
	suite.GatewayTLSConformanceProfile,
	suite.GatewayTCPConformanceProfile,
	suite.GatewayUDPConformanceProfile,
}

// exempt are features of these profiles that Penstock does not claim.
var exempt = []features.FeatureName{}

// claimed returns all features of the API but those of meshes, and less those that
// are exempt. The profiles do not name every feature that has a test.
func claimed() (names []features.FeatureName) {
	mesh := features.SetsToNamesSet(features.MeshCoreFeatures, features.MeshExtendedFeatures)
	for f := range features.AllFeatures {
		if !mesh.Has(f.Name) && !slices.Contains(exempt, f.Name) {
			names = append(names, f.Name)
		}
	}
	slices.Sort(names)
	return names
}

// short are the tests that run without PENSTOCK_LONG: a few of each kind, those
// that build up the most at once.
var short = []string{
	"GatewayClassObservedGenerationBump", "GatewayModifyListeners", "GatewayStaticAddresses", "GatewayInfrastructureMetadata",
	"GatewayWithAttachedRoutes", "GatewaySecretReferenceGrantSpecific", "GatewayFrontendClientCertificateValidation",
	"HTTPRouteMatching", "HTTPRouteCrossNamespace", "HTTPRouteInvalidBackendRefUnknownKind", "HTTPRouteWeight", "HTTPRouteRequestMirror",
	"HTTPRouteRewritePath", "HTTPRouteTimeoutRequest", "HTTPRouteCORS", "HTTPRouteHTTPSListener",
	"HTTPRouteHostnameIntersection", "HTTPRouteRequestHeaderModifier", "HTTPRouteReferenceGrant",
	"GRPCExactMethodMatching", "GRPCRouteHeaderMatching",
	"TLSRouteSimpleSameNamespace", "TLSRouteTerminateSimpleSameNamespace",
	"TCPRouteWeightedRouting", "UDPRoute", "ListenerSetHostnameConflict", "BackendTLSPolicy",
}
