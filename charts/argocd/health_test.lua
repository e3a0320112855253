-- Runs health.lua over one object per line of this table, with the interpreter that Argo CD uses (gopher-lua).
local function condition(kind, value)
  return {type = kind, status = value, message = kind .. " is " .. value}
end
local function object(generation, status)
  return {metadata = {generation = generation}, status = status}
end
local function seen(phase, ...)
  return object(2, {observedGeneration = 2, phase = phase, conditions = {...}})
end

local cases = {
  {"a new object is progressing", object(1, nil), "Progressing"},
  {"an empty status is progressing", object(1, {}), "Progressing"},
  {"an old status does not count as healthy", object(3, {observedGeneration = 2, phase = "Stable", conditions = {condition("Ready", "True")}}), "Progressing"},
  {"an old rejection does not fail the new spec", object(3, {observedGeneration = 2, phase = "RolledBack", conditions = {condition("Stalled", "True")}}), "Progressing"},
  {"a stable model is healthy", seen("Stable", condition("Ready", "True")), "Healthy", "Ready is True"},
  {"a rollout is progressing though stable serves", seen("Progressing", condition("Ready", "True"), condition("Reconciling", "True")), "Progressing", "Reconciling is True"},
  {"a rejected version is degraded though stable serves", seen("RolledBack", condition("Ready", "True"), condition("Stalled", "True")), "Degraded", "Stalled is True"},
  {"a paused rollout is suspended", seen("Paused", condition("Ready", "True"), condition("Reconciling", "True"), condition("Progressing", "False")), "Suspended", "Progressing is False"},
  {"a paused rollout without conditions is suspended", seen("Paused"), "Suspended", "The rollout is paused"},
  {"nothing healthy is degraded", seen("Stable", condition("Ready", "False")), "Degraded", "Ready is False"},
  {"a false Stalled means nothing", seen("Stable", condition("Stalled", "False"), condition("Ready", "True")), "Healthy"},
  {"a TrafficSplit has no phase", seen(nil, condition("Accepted", "True"), condition("Ready", "True")), "Healthy"},
  {"no condition yet is progressing", seen("Pending"), "Progressing"},
}

local failed = 0
for _, case in ipairs(cases) do
  obj = case[2]   -- the global that Argo CD sets
  local health = dofile("argocd/health.lua")
  if health.status ~= case[3] or (case[4] ~= nil and health.message ~= case[4]) or health.message == nil then
    failed = failed + 1
    print("charts: argocd: " .. case[1] .. ": got " .. tostring(health.status) .. ", " .. tostring(health.message))
  end
end
print("charts: Argo CD's health check: " .. #cases .. " cases, " .. failed .. " failures")
if failed > 0 then
  error("health.lua is wrong")
end
