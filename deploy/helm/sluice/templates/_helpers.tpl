{{/* Names and labels that several templates share. */}}

{{- define "sluice.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "sluice.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "sluice.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "sluice.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "sluice.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "sluice.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/* Labels by which pods are found: they never change. */}}
{{- define "sluice.selector" -}}
app.kubernetes.io/name: {{ include "sluice.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "sluice.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{ include "sluice.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end -}}

{{/* The Service whose address goes into status, if any. */}}
{{- define "sluice.publishService" -}}
{{- if .Values.status.publishService -}}
{{- .Values.status.publishService -}}
{{- else if and .Values.service.enabled (not .Values.status.addresses) -}}
{{- printf "%s/%s" .Release.Namespace (include "sluice.fullname" .) -}}
{{- end -}}
{{- end -}}

{{/* Values that contradict one another. */}}
{{- define "sluice.check" -}}
{{- if and .Values.watch.namespaces .Values.watch.namespaceSelector -}}
{{- fail "watch.namespaces and watch.namespaceSelector exclude one another: give one" -}}
{{- end -}}
{{- if and .Values.status.addresses .Values.status.publishService -}}
{{- fail "status.addresses and status.publishService exclude one another: give one" -}}
{{- end -}}
{{- if and .Values.metrics.serviceMonitor.enabled (or (hasPrefix "127." .Values.admin.host) (eq "::1" .Values.admin.host)) -}}
{{- fail "metrics.serviceMonitor.enabled needs admin.host that Prometheus can reach, such as 0.0.0.0; on loopback nobody else can" -}}
{{- end -}}
{{- if and .Values.admission.enabled (not .Values.admission.secretName) -}}
{{- fail "admission.enabled needs admission.secretName: the webhook is served by HTTPS" -}}
{{- end -}}
{{- if and .Values.admission.enabled (not (or .Values.admission.caBundle .Values.admission.injectCaFrom)) -}}
{{- fail "admission.enabled needs admission.injectCaFrom or admission.caBundle: else the API server does not believe the certificate" -}}
{{- end -}}
{{- if and .Values.admission.caBundle .Values.admission.injectCaFrom -}}
{{- fail "admission.injectCaFrom and admission.caBundle exclude one another: give one" -}}
{{- end -}}
{{- end -}}

{{/* The Service of the webhook. */}}
{{- define "sluice.admission" -}}
{{ include "sluice.fullname" . | trunc 53 | trimSuffix "-" }}-admission
{{- end -}}

{{/* Where the kubelet asks. It is in the node's network as the agent is; an address of "all" is the node's. */}}
{{- define "sluice.probe" -}}
{{- if not (has .Values.admin.host (list "0.0.0.0" "::")) -}}
host: {{ .Values.admin.host | quote }}
{{ end -}}
port: admin
{{- end -}}

{{/* The Lease of the leader, who alone writes to the API. */}}
{{- define "sluice.lease" -}}
sluice-leader
{{- end -}}

{{/* Rights on objects of the watched namespaces. */}}
{{- define "sluice.rules" -}}
- apiGroups: [networking.k8s.io]
  resources: [ingresses]
  verbs: [list, watch]
- apiGroups: [networking.k8s.io]
  resources: [ingresses/status]
  verbs: [patch]
- apiGroups: [""]
  resources: [services]
  verbs: [list, watch]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [list, watch]
# Asked for are those of type kubernetes.io/tls, and those that an Ingress of ours names. RBAC knows no types, so the right
# is on all of them.
- apiGroups: [""]
  resources: [secrets]
  verbs: [list, watch]
# What an Ingress asks for and does not get, told where `kubectl describe` shows it.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, get, patch]
{{- end -}}

{{/* Namespaces that are watched, where not all are: ours too, for it has the Service of the agents. */}}
{{- define "sluice.namespaces" -}}
{{- if .Values.watch.namespaces -}}
{{- append .Values.watch.namespaces .Release.Namespace | uniq | sortAlpha | join "," -}}
{{- end -}}
{{- end -}}

{{/* The Service whose EndpointSlices say on which nodes an agent is ready. */}}
{{- define "sluice.agents" -}}
{{ include "sluice.fullname" . | trunc 56 | trimSuffix "-" }}-agents
{{- end -}}
