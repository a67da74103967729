// Package access asks an API server who the owner of a bearer token is, by
// TokenReview, and what they may do, by SubjectAccessReview.
package access
