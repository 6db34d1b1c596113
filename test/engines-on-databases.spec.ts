import { enginesOnDatabases } from './support/engines.js';
import { describeEngines } from './suites/engines.suite.js';

describeEngines(enginesOnDatabases);
