"""The demo on kind: a domain controller as a pod, and what is installed around it."""
