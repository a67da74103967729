package gatewayapi

import (
	"maps"
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

// claimed returns the features of the profiles, less those that are exempt.
func claimed() []features.FeatureName {
	all := map[features.FeatureName]bool{}
	for _, p := range profiles {
		for _, name := range append(p.CoreFeatures.UnsortedList(), p.ExtendedFeatures.UnsortedList()...) {
			all[name] = !slices.Contains(exempt, name)
		}
	}
	maps.DeleteFunc(all, func(_ features.FeatureName, is bool) bool { return !is })
	return slices.Sorted(maps.Keys(all))
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
