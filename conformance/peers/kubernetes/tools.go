//go:build tools

// Package tools pins the API server and kube-proxy that Fairlead is compared with.
// It is never compiled: it keeps `go mod tidy` honest about what go.mod has to name.
package tools

import (
	_ "k8s.io/kubernetes/cmd/kube-apiserver"
	_ "k8s.io/kubernetes/cmd/kube-proxy"
)
