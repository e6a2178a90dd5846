{{- define "heliograph.name" -}}
{{- printf "%s-heliograph" .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "heliograph.selector" -}}
app.kubernetes.io/name: heliograph
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .role }}
{{- end -}}

{{- define "heliograph.labels" -}}
{{ include "heliograph.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{- define "heliograph.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{/* HELIOGRAPH_...: the settings as they are, the secrets by the files that they lie in. */}}
{{- define "heliograph.environment" -}}
{{- range $name, $value := .Values.settings }}
- name: HELIOGRAPH_{{ upper $name }}
  value: {{ $value | quote }}
{{- end }}
{{- range .Values.secrets.keys }}
- name: HELIOGRAPH_{{ upper . }}_FILE
  value: /etc/heliograph/secrets/{{ . }}
{{- end }}
{{- end -}}

{{- define "heliograph.mounts" -}}
- { name: project, mountPath: /etc/heliograph/project, readOnly: true }
- { name: secrets, mountPath: /etc/heliograph/secrets, readOnly: true }
{{- if .Values.secrets.extra }}
- { name: keys, mountPath: /etc/heliograph/keys, readOnly: true }
{{- end }}
{{- end -}}

{{- define "heliograph.volumes" -}}
- name: project
{{- if .Values.project.volume }}
{{ toYaml .Values.project.volume | indent 2 }}
{{- else }}
  configMap: { name: {{ .Values.project.configMap }} }
{{- end }}
- name: secrets
  secret: { secretName: {{ .Values.secrets.name }}, defaultMode: 0440 }
{{- if .Values.secrets.extra }}
- name: keys
  secret: { secretName: {{ .Values.secrets.extra }}, defaultMode: 0440 }
{{- end }}
{{- end -}}

{{- define "heliograph.safely" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end -}}

{{- define "heliograph.nobody" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: { type: RuntimeDefault }
{{- end -}}
