{{/* What the restricted profile of Pod Security asks of a container, and a root file system that nobody writes to. */}}
{{- define "unclip.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "unclip.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{/* A gRPC probe. Takes (dict "port" n "service" name, or "" for the process itself, "timing" map). */}}
{{- define "unclip.probe" -}}
grpc:
  port: {{ .port }}
  {{- with .service }}
  service: {{ . }}
  {{- end }}
{{ toYaml .timing }}
{{- end -}}

{{/* The volume with weights, where they do not come with the image. */}}
{{- define "unclip.weightsVolume" -}}
{{- $weights := .Values.weights -}}
- name: weights
{{- if eq $weights.source "image" }}
  image:
    reference: {{ $weights.image.reference }}{{ with $weights.image.digest }}@{{ . }}{{ end }}
    pullPolicy: {{ $weights.image.pullPolicy }}
{{- else if eq $weights.source "claim" }}
  persistentVolumeClaim: {claimName: {{ $weights.claim.name }}, readOnly: true}
{{- else }}
  emptyDir: {sizeLimit: {{ $weights.download.sizeLimit }}}
{{- end }}
{{- end -}}

{{/* The init container that fetches an archive of weights; it fails when the digest is another. */}}
{{- define "unclip.fetchWeights" -}}
- name: weights
  image: {{ .image }}
  imagePullPolicy: {{ .root.Values.image.pullPolicy }}
  command: [python, -m, unclip.checkpoints.download, {{ .root.Values.weights.download.url | quote }}, {{ .root.Values.weights.download.sha256 | quote }}, /weights]
  securityContext: {{- include "unclip.containerSecurity" . | nindent 4 }}
  resources:
    requests: {cpu: 250m, memory: 128Mi}
    limits: {cpu: "1", memory: 512Mi}
  volumeMounts:
    - {name: weights, mountPath: /weights}
    - {name: tmp, mountPath: /tmp}
{{- end -}}
