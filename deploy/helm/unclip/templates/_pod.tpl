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
  persistentVolumeClaim: {claimName: {{ include "unclip.claim" . }}, readOnly: true}
{{- else }}
  emptyDir: {sizeLimit: {{ $weights.download.sizeLimit }}}
{{- end }}
{{- end -}}

{{/* The init container that fetches an archive of weights; it fails when the digest is another. Proxies and CAs are told
to it as to its service: by env, extraEnv, envFrom and extraVolumeMounts. */}}
{{- define "unclip.fetchWeights" -}}
- name: weights
  image: {{ .image }}
  imagePullPolicy: {{ .root.Values.image.pullPolicy }}
  command: [python, -m, unclip.checkpoints.download, {{ .root.Values.weights.download.url | quote }}, {{ .root.Values.weights.download.sha256 | quote }}, /weights]
  {{- $secret := .root.Values.weights.download.token.secretName }}
  {{- $theirs := include "unclip.theirEnv" .values }}
  {{- if or $secret $theirs }}
  env:
    {{- with $secret }}
    - name: UNCLIP_WEIGHTS_TOKEN
      valueFrom: {secretKeyRef: {name: {{ . }}, key: {{ $.root.Values.weights.download.token.key }}}}
    {{- end }}
    {{- with $theirs }}
    {{- . | nindent 4 }}
    {{- end }}
  {{- end }}
  {{- with .values.envFrom }}
  envFrom: {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext: {{- toYaml .values.securityContext | nindent 4 }}
  resources:
    requests: {cpu: 250m, memory: 128Mi}
    limits: {cpu: "1", memory: 512Mi}
  volumeMounts:
    - {name: weights, mountPath: /weights}
    - {name: tmp, mountPath: /tmp}
    {{- with .values.extraVolumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}
