"""The operations: the workspace, requests, the nightly pipeline, release, erasure, certificates, reports."""
