{{/*
Environment of a service as a list. Takes (dict "root" $ "name" component "facts" its facts "values" its values).
What the chart decides comes first; `settings` adds the rest, and its schema has none of the former.
*/}}
{{- define "unclip.env" -}}
{{- $root := .root -}}
{{- $facts := .facts -}}
{{- $listen := ternary (printf "[%s]" .root.Values.listen) .root.Values.listen (contains ":" .root.Values.listen) -}}
{{- $identities := include "unclip.identities" . | fromYaml -}}
{{- $trust := .root.Values.tls.trust -}}
{{- $ca := ternary (printf "/etc/unclip/trust/%s" $trust.key) "/etc/unclip/tls/ca.crt" (ne $trust.configMap "") -}}
- {name: UNCLIP_HOST, value: {{ $listen | quote }}}
- {name: UNCLIP_PORT, value: {{ $facts.port | quote }}}
- {name: UNCLIP_METRICS, value: {{ printf "%s:9090" $listen | quote }}}
- {name: UNCLIP_LOG_LEVEL, value: {{ $root.Values.logs.level }}}
- {name: UNCLIP_DRAIN, value: {{ .values.stop.drainSeconds | quote }}}
- {name: UNCLIP_GRACE, value: {{ include "unclip.longest" .values | quote }}}
{{- if ne $root.Values.logs.format "text" }}
- {name: UNCLIP_LOG_FORMAT, value: {{ $root.Values.logs.format }}}
{{- end }}
{{- if and (ne $root.Values.reflection "auto") (ne .name "web") }}
- {name: UNCLIP_REFLECTION, value: {{ $root.Values.reflection | quote }}}
{{- end }}
{{- if eq .name "web" }}
{{- if and (or (gt (int .values.replicas) 1) (ne .values.autoscaling.kind "none")) (not (regexMatch "^(s3a?|gs|az|abfss?)://" (.values.settings.store | default ""))) }}
{{- fail "web.settings.store must be a bucket, such as s3://pictures, where web has several replicas: each finds what others made" }}
{{- end }}
- {name: UNCLIP_GATEWAY, value: {{ printf "dns:///%s:50050" (include "unclip.absolute" (dict "root" $root "name" "gateway")) | quote }}}
{{- else if eq .name "gateway" }}
{{- range $stage := list "encoder" "prior" "decoder" "upsampler" }}
{{- $served := ternary $stage "decoder" (or (ne $stage "upsampler") $root.Values.upsampler.enabled) }}
{{- $port := (index (include "unclip.facts" $root | fromYaml) $served).port }}
{{- $host := include "unclip.absolute" (dict "root" $root "name" $served) }}
- {name: UNCLIP_{{ upper $stage }}, value: {{ printf "dns:///%s:%v" $host $port | quote }}}
{{- end }}
{{- if $root.Values.apiKeys.enabled }}
- {name: UNCLIP_API_KEYS, value: /etc/unclip/api-keys/{{ $root.Values.apiKeys.key }}}
{{- end }}
{{- if $root.Values.c2pa.enabled }}
- {name: UNCLIP_C2PA_CERTIFICATE, value: /etc/unclip/c2pa/tls.crt}
- {name: UNCLIP_C2PA_KEY, value: /etc/unclip/c2pa/tls.key}
{{- end }}
{{- else }}
- {name: UNCLIP_CHECKPOINT, value: {{ include "unclip.checkpoint" $root | quote }}}
- {name: UNCLIP_DEVICE, value: {{ ternary "cuda" "cpu" (gt (int .values.gpu.count) 0) }}}
# Threads of the CPU: of the container's limit, not of the node's cores.
- name: UNCLIP_THREADS
  valueFrom: {resourceFieldRef: {resource: limits.cpu}}
{{- with $facts.stages }}
- {name: UNCLIP_STAGES, value: {{ . | quote }}}
{{- end }}
{{- end }}
{{- if eq (include "unclip.serves" .) "tls" }}
- {name: UNCLIP_TLS_CERT, value: /etc/unclip/tls/tls.crt}
- {name: UNCLIP_TLS_KEY, value: /etc/unclip/tls/tls.key}
{{- end }}
{{- if $root.Values.tls.enabled }}
{{- if eq .name "web" }}
- {name: UNCLIP_GATEWAY_TLS_CA, value: {{ $ca }}}
{{- if $root.Values.tls.clients.required }}
- {name: UNCLIP_GATEWAY_TLS_CERT, value: /etc/unclip/tls/tls.crt}
- {name: UNCLIP_GATEWAY_TLS_KEY, value: /etc/unclip/tls/tls.key}
{{- end }}
{{- else }}
# The kubelet has no certificate to show: its probes find health, and nothing else, at a port without TLS.
- {name: UNCLIP_HEALTH_LISTEN, value: {{ printf "%s:50060" $listen | quote }}}
{{- if ne $root.Values.tls.mode "strict" }}
- {name: UNCLIP_TLS_MODE, value: {{ $root.Values.tls.mode }}}
{{- end }}
{{- with $identities.configMap }}
- {name: UNCLIP_ALLOWED_IDENTITIES_FILE, value: /etc/unclip/identities/{{ $identities.key }}}
{{- end }}
{{- $clients := $root.Values.tls.clients }}
{{- if ne .name "gateway" }}
{{- $gateway := include "unclip.host" (dict "root" $root "name" "gateway") }}
- {name: UNCLIP_TLS_CA, value: {{ $ca }}}
- {name: UNCLIP_ALLOWED_IDENTITIES, value: {{ $root.Values.tls.allowedIdentities | default (list $gateway) | join "," | quote }}}
{{- else }}
{{- $folder := ternary "to-stages" "tls" (ne $root.Values.tls.secrets.toStages "") }}
- {name: UNCLIP_STAGE_TLS_CA, value: {{ ternary $ca (printf "/etc/unclip/%s/ca.crt" $folder) (ne $trust.configMap "") }}}
- {name: UNCLIP_STAGE_TLS_CERT, value: /etc/unclip/{{ $folder }}/tls.crt}
- {name: UNCLIP_STAGE_TLS_KEY, value: /etc/unclip/{{ $folder }}/tls.key}
{{- if $clients.required }}
- {name: UNCLIP_TLS_CA, value: {{ $ca }}}
{{- $web := ternary (list (include "unclip.host" (dict "root" $root "name" "web"))) list $root.Values.web.enabled }}
{{- if or $clients.allowedIdentities (and $web $identities.configMap) }}
- {name: UNCLIP_ALLOWED_IDENTITIES, value: {{ join "," (concat $clients.allowedIdentities $web) | quote }}}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- range $setting, $value := .values.settings }}
- {name: UNCLIP_{{ upper $setting }}, value: {{ include "unclip.scalar" $value | quote }}}
{{- end }}
{{- /* A name may stand in a container's environment once: extraEnv wins over env, and both over what the chart
says of traces, which comes last since it may refer to them. */}}
{{- $added := list }}
{{- range .values.extraEnv }}{{ $added = append $added .name }}{{ end }}
{{- with include "unclip.theirEnv" .values }}
{{ . }}
{{- end }}
{{- if $root.Values.tracing.enabled }}
{{- $attributes := printf "k8s.namespace.name=%s,k8s.pod.name=$(POD_NAME)" $root.Release.Namespace }}
{{- $traces := list (list "OTEL_SERVICE_NAME" (printf "unclip-%s" .name)) (list "OTEL_RESOURCE_ATTRIBUTES" $attributes) }}
{{- $traces = append $traces (list "OTEL_EXPORTER_OTLP_ENDPOINT" $root.Values.tracing.endpoint) }}
{{- $traces = append $traces (list "OTEL_EXPORTER_OTLP_PROTOCOL" "grpc") }}
{{- $traces = append $traces (list "OTEL_TRACES_SAMPLER" "parentbased_traceidratio") }}
{{- $traces = append $traces (list "OTEL_TRACES_SAMPLER_ARG" (toString $root.Values.tracing.sampledShare)) }}
{{- $theirs := concat $added (keys .values.env) }}
{{- if not (has "POD_NAME" $theirs) }}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
{{- end }}
{{- range $traces }}
{{- if not (has (first .) $theirs) }}
- {name: {{ first . }}, value: {{ last . | quote }}}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The variables that a service's values add: extraEnv wins over env. Takes those values. */}}
{{- define "unclip.theirEnv" -}}
{{- $added := list }}
{{- range .extraEnv }}{{ $added = append $added .name }}{{ end }}
{{- range $variable, $value := .env }}
{{- if not (has $variable $added) }}
- {name: {{ $variable }}, value: {{ include "unclip.scalar" $value | quote }}}
{{- end }}
{{- end }}
{{- with .extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* How a service speaks to callers: tls or plain. An HTTP server cannot take both: web follows with tls.mode strict. */}}
{{- define "unclip.serves" -}}
{{- $tls := .root.Values.tls -}}
{{- ternary "tls" "plain" (and $tls.enabled (or (ne .name "web") (eq $tls.mode "strict"))) -}}
{{- end -}}

{{/* The ConfigMap with the names that may call a service, as {configMap, key}; empty where there is none. */}}
{{- define "unclip.identities" -}}
{{- $tls := .root.Values.tls -}}
{{- $from := ternary $tls.clients.allowedIdentitiesFrom $tls.allowedIdentitiesFrom (eq .name "gateway") -}}
{{- $asked := or (ne .name "gateway") $tls.clients.required -}}
{{- if and $tls.enabled $asked $from.configMap (ne .name "web") }}{{ toYaml $from }}{{ else }}{}{{ end -}}
{{- end -}}

{{/* A value as text. Numbers go through JSON: as text Go writes 16777216 as 1.6777216e+07. */}}
{{- define "unclip.scalar" -}}
{{- if kindIs "string" . }}{{ . }}{{ else }}{{ toJson . }}{{ end -}}
{{- end -}}

{{/*
Seconds that a pod serves on as if nothing were: until the connections of its callers have ended, a tenth later than their
age, and found another pod. Callers of stages have heard of that one from DNS while it was to be ready; those of the gateway
may have one address for all pods. Takes (dict "name" component "values" its values).
*/}}
{{- define "unclip.preStop" -}}
{{- $least := int .values.stop.preStopSeconds -}}
{{- if ne .name "web" -}}
{{- $front := eq .name "gateway" -}}
{{- $age := mulf 1.1 (.values.settings.max_connection_age | default (ternary 10 6 $front)) | ceil | int -}}
{{- max $least (ternary (add $age 2) (sub (add $age 5) (int .values.rollout.minReadySeconds)) $front) -}}
{{- else -}}
{{- $least -}}
{{- end -}}
{{- end -}}

{{/* Seconds that the longest call of a service may take; takes its values. */}}
{{- define "unclip.longest" -}}
{{- .settings.max_deadline | default 300 | float64 | ceil | int -}}
{{- end -}}

{{/* The folder of the checkpoint inside a container. */}}
{{- define "unclip.checkpoint" -}}
{{- if eq .Values.weights.source "embedded" -}}
/opt/unclip/checkpoints/emoji
{{- else -}}
{{ printf "/weights/%s" .Values.weights.folder | trimSuffix "/" }}
{{- end -}}
{{- end -}}
