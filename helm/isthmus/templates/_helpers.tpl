{{/* The name of this release's objects. */}}
{{- define "isthmus.fullname" -}}
{{- $name := .Values.fullnameOverride | default .Release.Name -}}
{{- if not (contains "isthmus" $name) -}}{{- $name = printf "%s-isthmus" $name -}}{{- end -}}
{{- $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{/* The cluster's name, which has no default. */}}
{{- define "isthmus.cluster" -}}
{{- required "set `cluster` to this cluster's name, as in --set cluster=east" .Values.cluster -}}
{{- end -}}

{{/* The Service with the addresses of all gateways. */}}
{{- define "isthmus.gatewayReplicas" -}}
{{ include "isthmus.fullname" . }}-gateways
{{- end -}}

{{/* Labels that never change. */}}
{{- define "isthmus.selector" -}}
app.kubernetes.io/name: isthmus
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* All labels. */}}
{{- define "isthmus.labels" -}}
{{ include "isthmus.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/part-of: isthmus
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{/* The image that holds both programs. */}}
{{- define "isthmus.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{/* The port of a listen address. */}}
{{- define "isthmus.port" -}}
{{- splitList ":" . | last -}}
{{- end -}}

{{/* The host of a listen address, for probes in the node's network; empty for all addresses. */}}
{{- define "isthmus.host" -}}
{{- $host := regexReplaceAll ":[0-9]+$" . "" | trimPrefix "[" | trimSuffix "]" -}}
{{- if not (has $host (list "::" "0.0.0.0")) -}}{{- $host -}}{{- end -}}
{{- end -}}

{{/* One `--link` from its value. */}}
{{- define "isthmus.link" -}}
{{- $parts := list (printf "name=%s" .name) -}}
{{- range .address -}}{{- $parts = append $parts (printf "address=%s" .) -}}{{- end -}}
{{- with .dial -}}{{- $parts = append $parts (printf "dial=%s" .) -}}{{- end -}}
{{- with .namespaces -}}{{- $parts = append $parts (printf "namespaces=%s" (join "+" .)) -}}{{- end -}}
{{- with .cidrs -}}{{- $parts = append $parts (printf "cidrs=%s" (join "+" .)) -}}{{- end -}}
{{- join "," $parts -}}
{{- end -}}

{{/* Arguments that both daemons take. */}}
{{- define "isthmus.commonArgs" -}}
- --cluster={{ include "isthmus.cluster" . }}
- --trust-domain={{ .Values.trustDomain }}
- --credentials=/etc/isthmus/credentials
- --log-format={{ .Values.logFormat }}
{{- with .Values.otlpEndpoint }}
- --otlp-endpoint={{ . }}
{{- end }}
{{- end -}}
