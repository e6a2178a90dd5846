// The Flink operator's own schema of a FlinkDeployment, compiled by others: errors as JSON, [] when there are none.
import { validate } from "./node_modules/@kubernetes-models/flink/_schemas/FlinkApacheOrgV1beta1FlinkDeployment.js";

let text = "";
for await (const chunk of process.stdin) text += chunk;
process.stdout.write(JSON.stringify(validate(JSON.parse(text)) ? [] : validate.errors));
