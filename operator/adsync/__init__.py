"""adsync keeps people and groups in Active Directory in step with Kubernetes resources."""
