"""Tests of the packages: wheel, sdist, container image, Kubernetes manifests."""
