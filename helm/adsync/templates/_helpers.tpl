{{- define "adsync.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "adsync.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains (include "adsync.name" .) .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "adsync.name" .) | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Cluster-wide names carry the namespace, so that two releases of one name in two namespaces do not meet. */}}
{{- define "adsync.clusterName" -}}
{{- if eq (include "adsync.fullname" .) .Release.Namespace -}}
{{- include "adsync.fullname" . -}}
{{- else -}}
{{- printf "%s-%s" .Release.Namespace (include "adsync.fullname" .) -}}
{{- end -}}
{{- end -}}

{{- define "adsync.selector" -}}
app.kubernetes.io/name: {{ include "adsync.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "adsync.labels" -}}
{{ include "adsync.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "adsync.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "adsync.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "adsync.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{- define "adsync.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "adsync.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* What the operator does with the three kinds, and what they refer to, but for Secrets. */}}
{{- define "adsync.resourceRules" -}}
- apiGroups: [adsync.dev]
  resources: [addomains, syncedusers, syncedgroups]
  verbs: [get, list, watch, patch]
- apiGroups: [adsync.dev]
  resources: [addomains/status, syncedusers/status, syncedgroups/status]
  verbs: [patch]
{{- if .Values.rbac.imports }}
- apiGroups: [adsync.dev]
  resources: [syncedusers, syncedgroups]
  verbs: [create, delete]
{{- end }}
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, watch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end -}}

{{/* Credentials, CAs and passwords: cluster-wide, in each served namespace, or in those of secretNamespaces only. */}}
{{- define "adsync.secretRules" -}}
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch]
{{- end -}}

{{/* Combinations that cannot work, or are not safe. */}}
{{- define "adsync.validate" -}}
{{- if and (gt (int .Values.replicas) 1) (not .Values.leaderElection) -}}
{{- fail "\n\nreplicas is more than 1 and leaderElection is false: two operators would write at once.\nSet leaderElection=true or replicas=1." -}}
{{- end -}}
{{- if and (not .Values.serviceAccount.create) (not .Values.serviceAccount.name) -}}
{{- fail "\n\nserviceAccount.create is false and serviceAccount.name is empty: the operator would run as the namespace's default account.\nName the account to use." -}}
{{- end -}}
{{- if and .Values.image.tag .Values.image.digest -}}
{{- fail "\n\nimage.tag and image.digest are both set: the tag would be ignored.\nSet one of them." -}}
{{- end -}}
{{- if and .Values.domains .Values.uninstall.enabled (not .Values.rbac.create) (not .Values.uninstall.serviceAccountName) -}}
{{- fail "\n\nrbac.create is false, so the chart makes no Role for the hook that deletes its domains when it is uninstalled.\nName an account that may get and delete them in uninstall.serviceAccountName, or set uninstall.enabled=false and delete them yourself before you uninstall." -}}
{{- end -}}
{{- range .Values.secretNamespaces -}}
{{- if and $.Values.namespaces (not (has . $.Values.namespaces)) -}}
{{- fail (printf "\n\nsecretNamespaces has %s, which is not in the list namespaces: adsync does nothing there.\nAdd %s to namespaces, or take it off secretNamespaces." . .) -}}
{{- end -}}
{{- end -}}
{{- $seen := dict -}}
{{- range .Values.domains -}}
{{- $namespace := .namespace | default $.Release.Namespace -}}
{{- $key := printf "%s/%s" $namespace .name -}}
{{- if hasKey $seen $key -}}
{{- fail (printf "\n\ndomains has %s twice.\nGive each ADDomain of a namespace a name of its own." $key) -}}
{{- end -}}
{{- $_ := set $seen $key true -}}
{{- if and $.Values.namespaces (not (has $namespace $.Values.namespaces)) -}}
{{- fail (printf "\n\nThe domain %s is in a namespace that is not in the list namespaces: the operator would not see it.\nAdd %s to namespaces." $key $namespace) -}}
{{- end -}}
{{- if and $.Values.secretNamespaces (not (has $namespace $.Values.secretNamespaces)) -}}
{{- fail (printf "\n\nThe domain %s is in a namespace that is not in the list secretNamespaces: the operator could not read its credentials.\nAdd %s to secretNamespaces." $key $namespace) -}}
{{- end -}}
{{- end -}}
{{- end -}}
