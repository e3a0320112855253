-- Argo CD's health of a ModelDeployment or a TrafficSplit, from its kstatus conditions.
local status = obj.status
if status == nil or status.observedGeneration == nil then
  return {status = "Progressing", message = "Seatrial has not seen it yet"}
end
if status.observedGeneration < obj.metadata.generation then
  return {status = "Progressing", message = "Seatrial has not seen the newest spec yet"}
end

local is = {}
for _, condition in ipairs(status.conditions or {}) do
  is[condition.type] = condition
end
local function holds(kind)
  return is[kind] ~= nil and is[kind].status == "True"
end

-- Stalled: the newest version was rejected, or the spec cannot be used. A person has to act.
if holds("Stalled") then
  return {status = "Degraded", message = is.Stalled.message}
end
if status.phase == "Paused" then
  return {status = "Suspended", message = (is.Progressing or is.Reconciling or {message = "The rollout is paused"}).message}
end
if holds("Reconciling") then
  return {status = "Progressing", message = is.Reconciling.message}
end
if holds("Ready") then
  return {status = "Healthy", message = is.Ready.message}
end
if is.Ready ~= nil then
  return {status = "Degraded", message = is.Ready.message}
end
return {status = "Progressing", message = "Seatrial has not said yet whether it is ready"}
