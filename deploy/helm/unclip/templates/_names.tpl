{{- define "unclip.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* Prefix of every object's name; short enough for "-upsampler-pods" behind it. */}}
{{- define "unclip.fullname" -}}
{{- $name := include "unclip.name" . -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default $full .Values.fullnameOverride | trunc 45 | trimSuffix "-" -}}
{{- end -}}

{{/* Labels that select: they never change. Takes (dict "root" $ "name" component). */}}
{{- define "unclip.selector" -}}
app.kubernetes.io/name: {{ include "unclip.name" .root | quote }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .name }}
{{- end -}}

{{/* Labels of pods: no versions, or every new version of the chart would restart them all. */}}
{{- define "unclip.podLabels" -}}
{{ include "unclip.selector" . }}
app.kubernetes.io/part-of: unclip
{{- end -}}

{{- define "unclip.labels" -}}
{{ include "unclip.podLabels" . }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* What is fixed of each service: its module, port, health name, and what an upsampler or decoder serves. The web process
speaks HTTP; all others speak gRPC. */}}
{{- define "unclip.facts" -}}
gateway: {module: gateway, port: 50050, health: unclip.api.gateway.v1.GatewayService}
encoder: {module: encoder_svc, port: 50051, health: unclip.api.encoder.v1.EncoderService}
prior: {module: prior_svc, port: 50052, health: unclip.api.prior.v1.PriorService}
{{- if .Values.upsampler.enabled }}
decoder: {module: decoder_svc, port: 50053, health: unclip.api.decoder.v1.DecoderService, stages: decode}
upsampler: {module: decoder_svc, port: 50054, health: unclip.api.decoder.v1.UpsamplerService, stages: upsample}
{{- else }}
decoder: {module: decoder_svc, port: 50053, health: unclip.api.decoder.v1.DecoderService, stages: "decode,upsample"}
{{- end }}
{{- if .Values.web.enabled }}
web: {module: unclip.web, port: 8080, protocol: http}
{{- end }}
{{- end -}}

{{/* The values of one service: the defaults, overridden key by key by those of all stages and by its own. The settings of
the defaults are of services that speak gRPC: the web process has its own. */}}
{{- define "unclip.values" -}}
{{- $front := has .name (list "gateway" "web") -}}
{{- $stages := ternary dict .root.Values.stages $front -}}
{{- $own := omit (index .root.Values .name) "enabled" "service" "store" "ingress" -}}
{{- $defaults := ternary (omit .root.Values.defaults "settings") .root.Values.defaults (eq .name "web") -}}
{{- mergeOverwrite (deepCopy $defaults) (deepCopy $stages) $own | toYaml -}}
{{- end -}}

{{/* A reference to an image: registry, repository, then digest or tag. Takes (dict "root" $ "image" map "tag" default). */}}
{{- define "unclip.image" -}}
{{- $registry := .root.Values.image.registry | trimSuffix "/" -}}
{{- $name := ternary (printf "%s/%s" $registry .image.repository) .image.repository (ne $registry "") -}}
{{- if .image.digest -}}
{{ printf "%s@%s" $name .image.digest }}
{{- else -}}
{{ printf "%s:%s" $name (default .tag .image.tag) }}
{{- end -}}
{{- end -}}

{{/* The image of a service. Takes (dict "root" $ "name" component "values" its values). */}}
{{- define "unclip.imageOf" -}}
{{- $images := .root.Values.image -}}
{{- $version := .root.Chart.AppVersion -}}
{{- if has .name (list "gateway" "web") -}}
{{ include "unclip.image" (dict "root" .root "image" $images.gateway "tag" $version) }}
{{- else if gt (int .values.gpu.count) 0 -}}
{{ include "unclip.image" (dict "root" .root "image" $images.modelCuda "tag" (printf "%s-cuda" $version)) }}
{{- else -}}
{{ include "unclip.image" (dict "root" .root "image" $images.modelCpu "tag" (printf "%s-cpu" $version)) }}
{{- end -}}
{{- end -}}

{{/* Name of a service's headless Service. */}}
{{- define "unclip.headless" -}}
{{- $service := ternary (printf "%s-pods" .name) .name (has .name (list "gateway" "web")) -}}
{{ printf "%s-%s" (include "unclip.fullname" .root) $service }}
{{- end -}}

{{/* DNS name of a service's headless Service, as certificates bear it. */}}
{{- define "unclip.host" -}}
{{ printf "%s.%s.svc" (include "unclip.headless" .) .root.Release.Namespace }}
{{- end -}}

{{/* The same for who dials it: the whole name, with a dot behind it. Names that resolvers complete by the search list are
asked for at every entry of it, for every family of addresses, again and again. */}}
{{- define "unclip.absolute" -}}
{{ printf "%s.%s." (include "unclip.host" .) .root.Values.clusterDomain }}
{{- end -}}

{{/* The names of a Service by which it may be called: short, with its namespace, with "svc", whole. A list in YAML.
Takes (dict "root" $ "service" name). */}}
{{- define "unclip.dnsNames" -}}
{{- $namespace := .root.Release.Namespace -}}
- {{ .service }}
- {{ printf "%s.%s" .service $namespace }}
- {{ printf "%s.%s.svc" .service $namespace }}
- {{ printf "%s.%s.svc.%s" .service $namespace .root.Values.clusterDomain }}
{{- end -}}

{{- define "unclip.serviceAccount" -}}
{{- $own := printf "%s-%s" (include "unclip.fullname" .root) .name -}}
{{- .values.serviceAccount.name | default (ternary $own "default" .values.serviceAccount.create) -}}
{{- end -}}

{{- define "unclip.claim" -}}
{{- .Values.weights.claim.name | default (printf "%s-weights" (include "unclip.fullname" .)) -}}
{{- end -}}

{{- define "unclip.tlsSecret" -}}
{{- index .root.Values.tls.secrets .name | default (printf "%s-%s-tls" (include "unclip.fullname" .root) .name) -}}
{{- end -}}
