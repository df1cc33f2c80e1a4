{{/*
Replicas that a Deployment is written with; nothing where whoever scales decides. Takes (dict "root" $ "name" component
"values" its values).

A manifest without `replicas` leaves them alone only where somebody else has set them: what Helm wrote and writes no more
is reset by the API server, to 1. So a pool that begins to be scaled is written with what runs, and with nothing once the
scaler has set it (by the subresource `scale`), which Helm's server-side apply then leaves to it. Helm 3, and releases
from its time, set back whatever a manifest no longer has: there the live number is written each time. A pool that is no
longer scaled keeps what runs at first. Where there is nobody to ask (an installation, `helm template`) none is written,
or autoscaling.initialReplicas.
*/}}
{{- define "unclip.replicas" -}}
{{- $target := printf "%s-%s" (include "unclip.fullname" .root) .name -}}
{{- $namespace := .root.Release.Namespace -}}
{{- $scaling := .values.autoscaling -}}
{{- $live := lookup "apps/v1" "Deployment" $namespace $target -}}
{{- if eq $scaling.kind "none" -}}
{{- if and $live (include "unclip.scaled" (dict "root" .root "target" $target)) -}}
{{ $live.spec.replicas }}
{{- else -}}
{{ .values.replicas }}
{{- end -}}
{{- else if not $live -}}
{{ with $scaling.initialReplicas }}{{ . }}{{ end }}
{{- else -}}
{{- $applied := false -}}
{{- $handedOver := false -}}
{{- range $live.metadata.managedFields -}}
{{- if eq (.operation | default "") "Apply" -}}{{- $applied = true -}}{{- end -}}
{{- $replicas := dig "f:spec" "f:replicas" "" (.fieldsV1 | default dict) -}}
{{- if and (eq (.subresource | default "") "scale") (not (kindIs "string" $replicas)) -}}{{- $handedOver = true -}}{{- end -}}
{{- end -}}
{{- if not (and $applied $handedOver) -}}
{{ max $live.spec.replicas $scaling.minReplicas }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Whether something scales a Deployment now: our HorizontalPodAutoscaler, or KEDA's. Takes (dict "root" $ "target" name). */}}
{{- define "unclip.scaled" -}}
{{- range list .target (printf "keda-hpa-%s" .target) -}}
{{- if lookup "autoscaling/v2" "HorizontalPodAutoscaler" $.root.Release.Namespace . -}}yes{{- end -}}
{{- end -}}
{{- end -}}
