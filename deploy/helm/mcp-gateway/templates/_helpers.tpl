{{/* Standard labels of every object, beside those by which pods are selected. */}}
{{- define "mcp-gateway.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}

{{/* Labels by which the pods of a component are selected. They never change. */}}
{{- define "mcp-gateway.selector" -}}
app.kubernetes.io/name: mcp-gateway
app.kubernetes.io/component: {{ . }}
{{- end }}

{{/* The reference of an image: by digest if there is one, else by tag. */}}
{{- define "mcp-gateway.image" -}}
{{- $digest := index .root.Values.image.digests .component -}}
{{- $name := index .root.Values.image .component -}}
{{- if $digest -}}
{{ .root.Values.image.registry }}/{{ $name }}@{{ $digest }}
{{- else -}}
{{ .root.Values.image.registry }}/{{ $name }}:{{ .root.Values.image.tag | default .root.Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- define "mcp-gateway.priorityClass" -}}
{{ .Values.priorityClass.name | default (printf "mcp-gateway-%s" .Release.Namespace) }}
{{- end }}

{{/* mcp-gateway.yaml. The Service's own names are always allowed as Host, whatever the namespace is called. */}}
{{- define "mcp-gateway.configuration" -}}
{{- $service := "mcpgateway-service" -}}
{{- $names := list $service (printf "%s.%s" $service .Release.Namespace) (printf "%s.%s.svc" $service .Release.Namespace) -}}
{{- $edge := .Values.configuration.edge | default dict -}}
{{- $hosts := concat $names ($edge.allowedHosts | default list) | uniq -}}
{{- $edge = merge (dict "allowedHosts" $hosts) $edge -}}
{{- $declared := .Values.configuration.declared | default dict -}}
{{- if .Values.declared -}}
{{- $declared = merge (dict "chart" (dict "folder" "/etc/mcp-gateway-declared")) $declared -}}
{{- end -}}
{{- $own := dict "edge" $edge -}}
{{- if $declared }}{{ $own = merge (dict "declared" $declared) $own }}{{ end -}}
{{- toYaml (merge $own .Values.configuration) -}}
{{- end }}

{{/* Where pods go: the same for both components. */}}
{{- define "mcp-gateway.scheduling" -}}
priorityClassName: {{ include "mcp-gateway.priorityClass" .root }}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.topologySpreadConstraints }}
topologySpreadConstraints: {{- toYaml . | nindent 2 }}
{{- else }}
topologySpreadConstraints:
  - topologyKey: kubernetes.io/hostname
    maxSkew: 1
    whenUnsatisfiable: ScheduleAnyway
    labelSelector: { matchLabels: { app.kubernetes.io/name: mcp-gateway, app.kubernetes.io/component: {{ .component }} } }
  - topologyKey: topology.kubernetes.io/zone
    maxSkew: 1
    whenUnsatisfiable: ScheduleAnyway
    labelSelector: { matchLabels: { app.kubernetes.io/name: mcp-gateway, app.kubernetes.io/component: {{ .component }} } }
{{- end }}
{{- end }}
